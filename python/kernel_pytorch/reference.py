# SPDX-License-Identifier: Apache-2.0
"""The judge's reference: the captured graph in f64, a few rows of the batch at a time where the sample is large.

In f64 a sample needs twice the memory of the original's own call and more. Where rows of the batch do not see each
other, the reference of a slice is the slice of the reference, and its memory is that of the slice.
"""

from __future__ import annotations

import functools
import logging

import torch

from . import _native, memory, rows
from ._log import event
from .errors import MemoryAllocationError
from .plan import Plan, compile_reference
from .program import Program

# A sample whose reference needs more than this is cut: 8x128 tokens through MiniLM need 38 MB. Pieces are smaller than
# that, so that a cut sample costs less memory than a whole one. Where memory counts more than seconds (the original is
# to be released) samples are cut sooner.
_WHOLE_BYTES, _WHOLE_BYTES_LEAN, _PIECE_BYTES = 48 << 20, 24 << 20, 12 << 20
# A GPU idles in small pieces, and what PyTorch keeps of them is found again: so much, at most this share of what is
# free. BERT-large at 32x128 on an H200: 0.35 s in 8 pieces of 12 MB, 0.23 whole.
_WHOLE_BYTES_GPU, _GPU_SHARE, _GPU_PIECES = 4 << 30, 1 / 8, 4
# In f64 rounding is 1e-16 an operation: rows that depend on each other differ by far more than this, others by less.
_SAME = 1e-10


def limits(lean: bool, free_gpu_bytes: int | None) -> tuple[int, int]:
    """Bytes: above which a sample is cut, and of a piece. None: on a CPU."""
    if lean:
        return _WHOLE_BYTES_LEAN, _PIECE_BYTES
    if free_gpu_bytes is None:
        return _WHOLE_BYTES, _PIECE_BYTES
    whole = max(_WHOLE_BYTES, min(_WHOLE_BYTES_GPU, int(free_gpu_bytes * _GPU_SHARE)))
    return whole, whole // _GPU_PIECES


class Reference:
    """Compiles once; run() is used from one thread."""

    def __init__(self, program: Program, lean: bool = False):
        self._plan: Plan = compile_reference(program)
        self._on_gpu = program.device.type == "cuda"
        free = _native.device_memory(program.device.index)[0] if self._on_gpu else None
        self._whole_bytes, self._piece_bytes = limits(lean, free)
        self._batch = rows.batch_axis(program)
        self._bytes_per_element = rows.bytes_per_element(program, self._plan)

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs in f64. Whole where the sample is small, has no batch axis, or rows turn out to see each other; on a
        GPU that has not that much memory after all in small pieces."""
        try:
            return self._run(inputs)
        except (MemoryAllocationError, torch.OutOfMemoryError) as short:
            if self._piece_bytes == _PIECE_BYTES:
                raise
            event(logging.INFO, "reference_in_small_pieces", reason=str(short).splitlines()[0])
        self._whole_bytes, self._piece_bytes = _WHOLE_BYTES, _PIECE_BYTES
        self._plan.native.trim()
        torch.cuda.empty_cache()
        return self._run(inputs)

    def _run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        pieces = self._pieces(inputs)
        if len(pieces) > 1:
            outputs = self._by_pieces(pieces)
            if outputs is not None:
                if self._on_gpu:  # pieces are large there
                    self._plan.native.trim()
                return outputs
        outputs = self._plan.run(inputs)
        self._plan.native.trim()
        return outputs

    def bytes_needed(self, inputs: list[torch.Tensor]) -> float:
        """About what a run takes that is not cut."""
        return self._bytes_per_element * sum(t.numel() for t in inputs)

    def _pieces(self, inputs: list[torch.Tensor]) -> list[list[torch.Tensor]]:
        """The inputs cut along the batch, pieces of about equal size and at least 4 rows; [inputs] if not to be cut."""
        needed = self.bytes_needed(inputs)
        if self._batch is None or needed <= self._whole_bytes:
            return [inputs]
        total = inputs[self._batch[0]].shape[0]
        count = min(total // 4, -(-int(needed) // self._piece_bytes))
        if count < 2:
            return [inputs]
        cuts = [total * i // count for i in range(count + 1)]
        return [rows.cut(inputs, self._batch, a, b) for a, b in zip(cuts, cuts[1:], strict=False)]

    def _by_pieces(self, pieces: list[list[torch.Tensor]]) -> list[torch.Tensor] | None:
        """The outputs put together; None where an output has no row for each of the batch, or where rows of the first
        piece come out otherwise when they are computed without the others."""
        sizes = [piece[self._batch[0]].shape[0] for piece in pieces]
        first = self._plan.run(pieces[0])
        if not all(t.dim() and t.shape[0] == sizes[0] for t in first) or not self._rows_alone(pieces[0], first):
            return None
        wholes = [t.new_empty((sum(sizes), *t.shape[1:])) for t in first]
        at = 0
        for size, piece in zip(sizes, pieces, strict=True):
            for whole, part in zip(wholes, first if at == 0 else self._plan.run(piece), strict=True):
                whole[at : at + size] = part
            at += size
            if not self._on_gpu:
                memory.trim()
        return wholes

    def _rows_alone(self, piece: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
        total = piece[self._batch[0]].shape[0]
        half = total // 2
        for start, stop in ((0, half), (half, total)):
            alone = self._plan.run(rows.cut(piece, self._batch, start, stop))
            for whole, part in zip(outputs, alone, strict=True):
                if part.shape != whole[start:stop].shape or not _same(whole[start:stop], part):
                    return False
        return True


class Deferred:
    """A Reference that is compiled when it is first asked."""

    def __init__(self, program: Program, lean: bool = False):
        self._make = functools.cache(lambda: Reference(program, lean))

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return self._make().run(inputs)

    def bytes_needed(self, inputs: list[torch.Tensor]) -> float:
        return self._make().bytes_needed(inputs)


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    if not x.is_floating_point():
        return torch.equal(x, y)
    return _native.distance(x, y)[0] <= _SAME
