"""Which engine runs, and that the reason is said. Nothing here stands in for a GPU."""

from __future__ import annotations

import ctypes
import importlib.util

import numpy as np
import pytest

from realtime.engines import select
from realtime.engines.driver import probe_driver
from realtime.engines.select import select_engine, tensorrt_obstacle
from stemctx_core.classifier import Bundle, load_bundle
from stemctx_core.engine import OnnxRuntimeEngine
from stemctx_core.errors import BundleError, InputError

NOT_VERIFIED = "TensorRT execution: not verified on this machine"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    try:
        return load_bundle()
    except BundleError as error:
        pytest.skip(str(error))


def inputs(patches: int, candidates: int) -> dict[str, np.ndarray]:
    from stemctx_core.compositions import COMPOSITION_WIDTH, CONTEXT_WIDTH
    from stemctx_core.features import FEATURES

    rng = np.random.default_rng(patches)
    return {
        "patches": rng.normal(size=(patches, 1024)).astype(np.float32),
        "mean": rng.normal(size=(candidates, FEATURES)).astype(np.float32),
        "whiten": np.repeat(np.eye(FEATURES, dtype=np.float32)[None], candidates, axis=0),
        "log_det": np.zeros(candidates, np.float32),
        "scale": np.ones((candidates, FEATURES), np.float32),
        "log_dose": np.full(1, 11.0, np.float32),
        "composition": rng.normal(size=(candidates, COMPOSITION_WIDTH)).astype(np.float32),
        "context": rng.normal(size=CONTEXT_WIDTH).astype(np.float32),
    }


def test_the_driver_is_asked_and_agrees_with_the_library_that_is_here() -> None:
    probe = probe_driver()
    assert probe.reason
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert (probe.devices, probe.reason) == (0, "no CUDA driver")


def test_the_default_engine_says_why_it_is_not_tensorrt(bundle: Bundle) -> None:
    if not tensorrt_obstacle():
        pytest.skip("TensorRT can run here")
    engine = select_engine(bundle.onnx_bytes)
    assert isinstance(engine, OnnxRuntimeEngine)
    assert engine.info.name.startswith("ONNX Runtime")
    assert engine.info.name.endswith("(CPU)")
    assert engine.info.reason == f"TensorRT not used: {tensorrt_obstacle()}"
    engine.close()


def test_a_driver_without_tensorrt_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from realtime.engines.driver import DriverProbe

    monkeypatch.setattr(select, "_package", lambda: "")
    monkeypatch.setattr(select, "probe_driver", lambda: DriverProbe(1, "1 CUDA device"))
    assert "TensorRT is not installed" in tensorrt_obstacle()


def test_an_engine_that_was_asked_for_and_cannot_run_is_an_error_that_names_the_way_out(bundle: Bundle) -> None:
    if not tensorrt_obstacle():
        pytest.skip("TensorRT can run here")
    with pytest.raises(InputError, match="Leave --engine out"):
        select_engine(bundle.onnx_bytes, "tensorrt")


def test_an_engine_asked_for_is_used_and_an_unknown_one_refused(bundle: Bundle) -> None:
    assert select_engine(bundle.onnx_bytes, "onnxruntime", 1).info.reason == "asked for"
    with pytest.raises(InputError, match="auto, onnxruntime, tensorrt"):
        select_engine(bundle.onnx_bytes, "openvino")


def test_a_damaged_model_is_refused() -> None:
    with pytest.raises(BundleError, match="cannot load"):
        select_engine(b"\x08\x07not a graph", "onnxruntime")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_the_shipped_model_compiles_with_tensorrt_rtx_ahead_of_time(bundle: Bundle) -> None:
    import tensorrt_rtx

    from realtime.engines.tensorrt import TensorRtError, build_plan

    for model in (bundle, load_bundle(half=True)):
        assert len(build_plan(tensorrt_rtx, model.onnx_bytes, ("SM86", "SM89", "SM120"))) > 10_000
    with pytest.raises(TensorRtError, match="cannot read"):
        build_plan(tensorrt_rtx, b"\x08\x07not a graph", ("SM89",))


@pytest.mark.gpu
def test_tensorrt_agrees_with_onnx_runtime(bundle: Bundle) -> None:
    if obstacle := tensorrt_obstacle():
        pytest.skip(f"{NOT_VERIFIED}: {obstacle}")
    from realtime.engines.tensorrt import TensorRtEngine

    reference = OnnxRuntimeEngine(bundle.onnx_bytes)
    engine = select_engine(bundle.onnx_bytes, "tensorrt")
    assert isinstance(engine, TensorRtEngine)
    try:
        for patches, candidates in ((1, 2), (7, 8), (1024, 8), (300, 24)):
            given = inputs(patches, candidates)
            np.testing.assert_allclose(engine.run(given), reference.run(given), rtol=1e-3, atol=2e-2)
    finally:
        engine.close()
        engine.close()
