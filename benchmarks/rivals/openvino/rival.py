# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU, tuned for latency, in fp32 and in bf16."""

from typing import Any

from kernel_pytorch.benchmark.systems import Built, Work, cpu_only, inference_only, needs

VARIANTS = ("", "bf16")


def missing(variant: str, work: Work) -> str | None:
    if work.dtype != "fp32":
        return "fp32 models only are compared"
    return needs("onnx", "openvino") or cpu_only(work) or inference_only(work)


def build(variant: str, work: Work) -> Built:
    reused = "onnx" in work.__dict__
    path, seconds = work.onnx
    built = _compiled(variant, work, path)
    built.extra_s = seconds if reused else 0.0
    return built


def _compiled(variant: str, work: Work, path: Any) -> Built:
    import openvino

    core = openvino.Core()
    core.set_property({"CACHE_DIR": str(work.folder / f"openvino-{variant}")})
    settings = {
        "INFERENCE_NUM_THREADS": work.threads,
        "INFERENCE_PRECISION_HINT": variant or "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(str(path), "CPU", settings)
    arrays = work.onnx_inputs()
    wanted = {port.any_name for port in compiled.inputs}
    inputs = {name: array for name, array in arrays.items() if name in wanted}
    request = compiled.create_infer_request()

    def call() -> list[Any]:
        found = request.infer(inputs)
        return [found[i] for i in range(len(compiled.outputs))]

    return Built(call, reload=lambda: _compiled(variant, work, path))
