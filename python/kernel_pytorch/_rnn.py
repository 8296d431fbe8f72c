# SPDX-License-Identifier: Apache-2.0
"""Shape rules for recurrent operators while a model is traced.

torch traces aten.lstm and its like through step-by-step decompositions, which fix the sequence length, take a step for
each position, and (2.11) give the final states one dimension too many. Shapes are all that a trace wants.
"""

import contextlib
import threading

import torch

_LOCK = threading.Lock()  # the kernel tables of operators are global


def _output(input, state, bidirectional: bool):
    return input.new_empty((*input.shape[:-1], state.shape[-1] * (2 if bidirectional else 1)))


def _lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    return _output(input, hx[0], bidirectional), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _one_state(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    return _output(input, hx, bidirectional), torch.empty_like(hx)


@contextlib.contextmanager
def shape_rules():
    """Inside, lstm, gru and rnn compute shapes only. For tracing under fake tensors."""
    aten = torch.ops.aten
    rules = {aten.lstm.input: _lstm}
    rules.update({op.input: _one_state for op in (aten.gru, aten.rnn_tanh, aten.rnn_relu)})
    keys = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)
    with _LOCK:
        saved = {op: {k: op.py_kernels[k] for k in keys if k in op.py_kernels} for op in rules}
        try:
            for op, kernels in saved.items():
                op.py_kernels.update(dict.fromkeys(kernels, rules[op]))
                op._dispatch_cache.clear()
            yield
        finally:
            for op, kernels in saved.items():
                op.py_kernels.update(kernels)
                op._dispatch_cache.clear()
