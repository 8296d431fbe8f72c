# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: as exported, with its transformer fusions, and with dynamic int8 weights."""

from pathlib import Path

from kernel_pytorch.benchmark.systems import Built, Work, cpu_only, inference_only, needs

VARIANTS = ("", "optimised", "int8")


def missing(variant: str, work: Work) -> str | None:
    if variant == "optimised" and not work.family:
        return "its transformer optimiser knows no such model"
    if work.dtype != "fp32":
        return "fp32 models only are compared"
    return needs("onnx", "onnxruntime") or cpu_only(work) or inference_only(work)


def build(variant: str, work: Work) -> Built:
    reused = "onnx" in work.__dict__
    path, seconds = work.onnx
    if variant == "optimised":
        path = _optimised(path, work)
    elif variant == "int8":
        path = _int8(path, work)
    built = _session(path, work)
    built.extra_s = seconds if reused else 0.0
    return built


def _session(path: Path, work: Work) -> Built:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.log_severity_level = 3
    # Its threads would go on spinning after a call, into the time of whoever is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    inputs = {name: array for name, array in work.onnx_inputs().items() if name in wanted}
    return Built(lambda: session.run(None, inputs), reload=lambda: _session(path, work))


def _optimised(path: Path, work: Work) -> Path:
    from onnxruntime.transformers import optimizer

    target = work.folder / "optimised.onnx"
    made = optimizer.optimize_model(str(path), work.family, num_heads=work.heads, hidden_size=work.hidden)
    made.save_model_to_file(str(target))
    return target


def _int8(path: Path, work: Work) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = work.folder / "int8.onnx"
    quantize_dynamic(str(path), str(target), weight_type=QuantType.QInt8, per_channel=True)
    return target
