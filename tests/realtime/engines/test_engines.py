"""Which engine runs, and that the reason is said. Nothing here stands in for a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime.engines import select
from realtime.engines.agreement import TOLERANCE, disagreement, example, largest_difference
from realtime.engines.builder import TensorRtError
from realtime.engines.driver import DriverProbe, Gpu, probe_driver
from realtime.engines.fallback import FallbackEngine
from realtime.engines.select import EngineKind, Precision, gpu_obstacle, load_classifier, select_engine
from stemctx_core.classifier.classifier import Bundle, load_bundle
from stemctx_core.classifier.engine import Arrays, OnnxRuntimeEngine
from stemctx_core.errors import BundleError, InputError
from stemctx_core.results import EngineInfo

NOT_VERIFIED = "TensorRT execution: not verified on this machine"
GPU_KINDS = [EngineKind.TENSORRT, EngineKind.TENSORRT_RTX]
without_gpu = pytest.mark.skipif(probe_driver().devices > 0, reason="there is a GPU")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


def in_a_process(code: str, tmp_path: Path) -> dict[str, object]:
    """Run code that prints JSON in a Python of its own, with a folder of caches of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_driver_is_asked_and_agrees_with_the_library_that_is_here() -> None:
    probe = probe_driver()
    assert probe.reason
    assert (probe.gpu is not None) == (probe.devices > 0)
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert (probe.devices, probe.reason) == (0, "no CUDA driver")


@without_gpu
def test_without_a_gpu_a_process_falls_back_says_why_and_imports_no_engine_library(tmp_path: Path) -> None:
    """The whole way to a result, in a process of its own: an engine library without a driver could end it."""
    code = """
import json, sys
import numpy as np
from realtime.engines.select import load_classifier
from stemctx_core.analysis import FrameAnalyzer
from stemctx_core.context import ImagingContext, Known, Source

values = dict(high_tension_kv=80.0, convergence_semi_angle_mrad=30.0, inner_mrad=70.0, outer_mrad=200.0)
context = ImagingContext("WSe2", ("V",), **{name: Known(value, Source.USER) for name, value in values.items()})
analyzer = FrameAnalyzer(load_classifier(threads=1))
result = analyzer.analyze(np.random.default_rng(0).poisson(9.0, (96, 96)).astype(np.float32), context)
loaded = [name for name in sys.modules if name.split(".")[0] in ("tensorrt", "tensorrt_rtx", "cuda", "torch")]
print(json.dumps({"name": result.engine.name, "reason": result.engine.reason, "loaded": loaded}))
"""
    answer = in_a_process(code, tmp_path)
    assert str(answer["name"]).startswith("ONNX Runtime")
    assert str(answer["name"]).endswith("(CPU)")
    assert answer["reason"] == f"TensorRT not used: {probe_driver().reason}"
    assert answer["loaded"] == []
    # Neither a plan, nor the identity under which ONNX Runtime would report to its maker.
    assert not list(tmp_path.iterdir())


@without_gpu
@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
def test_an_engine_library_that_is_asked_all_the_same_gives_an_error_and_not_a_crash(tmp_path: Path) -> None:
    """TensorRT-RTX builds its plan, keeps it, finds no device, and says so; the next time it is not built again."""
    code = """
import json, logging
from pathlib import Path
from realtime.engines.builder import TensorRtError
from realtime.engines.driver import Gpu
from realtime.engines.plans import PlanCache
from realtime.engines.tensorrt import TensorRtEngine
from stemctx_core.classifier.classifier import load_bundle

said, built, cache = [], [], PlanCache()
for _ in range(2):
    try:
        TensorRtEngine(load_bundle().onnx_bytes, "tensorrt_rtx", Gpu("no such GPU", "SM89", "13.0"), "asked", cache)
    except TensorRtError as error:
        said.append(str(error))
    built += [(r.sha256, r.key.target) for r in cache.records()]
print(json.dumps({"said": said, "built": built}))
"""
    answer = in_a_process(code, tmp_path)
    said, built = answer["said"], answer["built"]
    assert isinstance(said, list)
    assert isinstance(built, list)
    assert len(said) == 2
    assert all("tensorrt_rtx" in text for text in said)
    assert built[0] == built[1]
    assert built[0][1] == ["SM89"]


@without_gpu
@pytest.mark.parametrize("kind", GPU_KINDS)
def test_an_engine_that_was_asked_for_and_cannot_run_is_an_error_that_names_the_way_out(
    kind: EngineKind, bundle: Bundle
) -> None:
    with pytest.raises(InputError, match="Leave --engine out"):
        select_engine(bundle.onnx_bytes, kind)


def test_a_driver_without_the_library_is_told_with_what_to_install() -> None:
    probe = DriverProbe(1, "1 CUDA device", Gpu("any", "SM89", "13.0"))
    for kind in GPU_KINDS:
        if importlib.util.find_spec(kind.value) is None:
            assert "is not installed (pip install" in gpu_obstacle(kind, probe)
        elif importlib.util.find_spec("cuda") is None:
            assert "cuda-bindings is not installed (pip install" in gpu_obstacle(kind, probe)
    assert gpu_obstacle(EngineKind.ONNX_RUNTIME, probe) == ""


def test_an_engine_asked_for_is_used_and_an_unknown_one_refused(bundle: Bundle) -> None:
    assert select_engine(bundle.onnx_bytes, "onnxruntime", 1).info.reason == "asked for"
    with pytest.raises(InputError, match="auto, onnxruntime, tensorrt, tensorrt_rtx"):
        select_engine(bundle.onnx_bytes, "openvino")


def test_the_precision_chooses_the_graph_and_is_said() -> None:
    half = load_classifier(engine="onnxruntime:fp16", threads=1)
    full = load_classifier(engine="onnxruntime", threads=1)
    assert half.bundle.onnx_bytes != full.bundle.onnx_bytes
    assert half.bundle.sha256 == full.bundle.sha256
    assert (half.engine.info.reason, full.engine.info.reason) == ("asked for, fp16", "asked for")
    with pytest.raises(InputError, match="fp32, fp16"):
        load_classifier(engine="auto:int8")


def test_a_damaged_model_is_refused() -> None:
    with pytest.raises(BundleError, match="cannot load"):
        select_engine(b"\x08\x07not a graph", "onnxruntime")


def test_an_engine_with_other_answers_is_found_out(bundle: Bundle) -> None:
    """One engine is ONNX Runtime with a graph whose last weights are another's."""
    import onnx
    from onnx import numpy_helper

    reference = OnnxRuntimeEngine(bundle.onnx_bytes, threads=1)
    assert disagreement(reference, OnnxRuntimeEngine(bundle.onnx_bytes, threads=2), Precision.FP32) == ""
    model = onnx.load_from_string(bundle.onnx_bytes)
    tensor = next(
        t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2
    )
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((array * 1.1).astype(np.float32), tensor.name))
    other = OnnxRuntimeEngine(model.SerializeToString(), threads=1)
    assert "differ from those of ONNX Runtime" in disagreement(other, reference, Precision.FP32)
    spoilt = np.full((2, 3), np.nan, np.float32)
    assert largest_difference(spoilt, np.zeros((2, 3), np.float32)) == np.inf


def test_an_engine_that_fails_while_it_runs_is_replaced_by_the_cpu_and_that_is_said(bundle: Bundle) -> None:
    """The engine that fails is ONNX Runtime until it raises what ours raises for a GPU."""

    class Fails(OnnxRuntimeEngine):
        calls = closed = 0

        def run(self, inputs: Arrays) -> np.ndarray:
            self.calls += 1
            if self.calls > 1:
                raise TensorRtError("the GPU did not take the work")
            return super().run(inputs)

        def close(self) -> None:
            self.closed += 1

    failing = Fails(bundle.onnx_bytes, "1 CUDA device", 1)
    engine = FallbackEngine(failing, bundle.onnx_bytes, 1)
    inputs = example(1)
    first = engine.run(inputs)
    assert engine.info.reason == "1 CUDA device"
    for _ in range(2):
        np.testing.assert_array_equal(engine.run(inputs), first)
    assert engine.info.reason.endswith("failed while it ran: the GPU did not take the work")
    assert (failing.calls, failing.closed) == (2, 1)
    engine.close()
    with pytest.raises(
        Exception, match="patches"
    ):  # an input that is wrong for every engine is no failure of one
        engine.run({})


def test_batches_of_any_size_give_the_same_on_the_default_engine(bundle: Bundle) -> None:
    engine = OnnxRuntimeEngine(bundle.onnx_bytes, threads=1)
    inputs = example()
    together = engine.run(inputs)
    alone = engine.run({**inputs, "patches": inputs["patches"][5:6]})
    np.testing.assert_allclose(together[5:6], alone, atol=2e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", GPU_KINDS)
@pytest.mark.parametrize("precision", list(Precision))
def test_a_gpu_agrees_with_onnx_runtime(
    kind: EngineKind, precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch size twice: the second run is a replayed graph. The second engine takes the first one's plan."""
    if obstacle := gpu_obstacle(kind):
        pytest.skip(f"{NOT_VERIFIED}: {obstacle}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = load_bundle(half=precision is Precision.FP16).onnx_bytes
    reference = OnnxRuntimeEngine(content)
    for _ in range(2):
        engine = select_engine(content, kind, precision=precision)
        try:
            for inputs in (example(1), example(30), example(200), example(30)):
                for part in (1, 7, 64, 65, len(inputs["patches"])):
                    given: Arrays = {**inputs, "patches": inputs["patches"][:part]}
                    found, wanted = engine.run(given), reference.run(given)
                    assert found.shape == wanted.shape
                    assert largest_difference(found, wanted) <= TOLERANCE[precision]
        finally:
            engine.close()
            engine.close()
    cache = select.open_cache()
    assert cache is not None
    assert len([r for r in cache.records() if r.key.content == "plan"]) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("kind", GPU_KINDS)
def test_a_gpu_tells_what_it_cannot_take(kind: EngineKind) -> None:
    if obstacle := gpu_obstacle(kind):
        pytest.skip(f"{NOT_VERIFIED}: {obstacle}")
    engine = select_engine(load_bundle().onnx_bytes, kind)
    inputs = example(1)
    too_many = {n: np.repeat(a, 70, axis=0) if n in ("mean", "whiten", "log_det", "scale", "composition") else a
                for n, a in inputs.items()}  # fmt: skip
    try:
        with pytest.raises(TensorRtError, match="outside what the plan was built for"):
            engine.run(too_many)
        assert np.isfinite(engine.run(inputs)).all()
    finally:
        engine.close()
    with pytest.raises(TensorRtError, match="closed"):
        engine.run(inputs)
    assert isinstance(engine.info, EngineInfo)
