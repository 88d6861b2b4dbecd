"""Which inference engine works: each runs the shipped model on rendered patches, in a process of its own."""

from __future__ import annotations

from typing import Any, Final

from nionswift_plugin.stemctx.doctor.child import ProbeFailed, ask
from nionswift_plugin.stemctx.doctor.finding import Finding, Status, ok, trouble, warning
from nionswift_plugin.stemctx.needed import there

TOPIC: Final = "engine"
_REINSTALL: Final = "Run: python -m pip install --force-reinstall onnxruntime"


def check() -> list[Finding]:
    """Whether ONNX Runtime works, and whether a GPU is used or why not."""
    return [_cpu(), *_gpu()]


def _cpu() -> Finding:
    if not there("onnxruntime"):
        return trouble(
            TOPIC,
            "ONNX Runtime is not installed, and without it no model runs",
            'Run: python -m pip install "onnxruntime>=1.20"',
        )
    try:
        said = ask("engines", "onnxruntime", timeout_s=180.0)
    except ProbeFailed as error:
        return trouble(TOPIC, f"ONNX Runtime does not run the shipped model: {error}", _REINSTALL)
    if said["obstacle"]:
        return trouble(TOPIC, f"ONNX Runtime does not run the shipped model: {said['obstacle']}", _REINSTALL)
    return ok(TOPIC, f"{said['name']} judged {said['patches']} patches")


def _gpu() -> list[Finding]:
    try:
        driver = ask("driver", timeout_s=30.0)
    except ProbeFailed as error:
        return [
            warning(
                TOPIC,
                f"the CUDA driver could not be asked ({error}), so that ONNX Runtime is used",
                "Install NVIDIA's driver again, and restart the computer.",
            )
        ]
    if not driver["devices"]:
        return [ok(TOPIC, f"TensorRT is not used: {driver['reason']}")]
    tried = []
    for kind in driver["kinds"]:
        tried.append(_tensorrt(kind))
        if tried[-1].status is Status.OK:  # the others would not be used
            return tried[-1:]
    return tried


def _tensorrt(kind: str) -> Finding:
    try:
        said = ask("engines", kind, timeout_s=180.0)
    except ProbeFailed as error:
        return warning(
            TOPIC,
            f"{kind} fails: {error}",
            "Start with --engine onnxruntime, or install it again: see docs/engines.md.",
        )
    if said["obstacle"]:
        return warning(
            TOPIC, f"{kind} is not used: {said['obstacle']}", "See docs/engines.md, or do without a GPU."
        )
    return ok(TOPIC, f"{said['name']} judged {said['patches']} patches")


def probe(kind: str) -> dict[str, Any]:
    """Run the shipped model in one engine; for a child process."""
    import numpy as np

    from realtime.engines.agreement import example
    from realtime.engines.driver import probe_driver
    from realtime.engines.select import EngineKind, Precision, gpu_obstacle, start_on_gpu
    from stemctx_core.classifier.classifier import load_bundle
    from stemctx_core.classifier.engine import Engine, OnnxRuntimeEngine

    wanted, driver = EngineKind(kind), probe_driver()
    if obstacle := gpu_obstacle(wanted, driver):
        return {"obstacle": obstacle}
    model = load_bundle().onnx_bytes
    engine: Engine
    if wanted is EngineKind.ONNX_RUNTIME:
        engine = OnnxRuntimeEngine(model, threads=1)
    else:
        engine = start_on_gpu(model, wanted, driver, Precision.FP32, "tried")
    logits = engine.run(example(8))
    finite = bool(np.isfinite(logits).all())
    return {
        "obstacle": "" if finite else "its answers are not numbers",
        "name": engine.info.name,
        "patches": len(logits),
    }
