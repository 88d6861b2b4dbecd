"""TensorRT-RTX compiles every shipped graph ahead of time, without a GPU, through our own code; broken ones not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from realtime.engines.builder import TensorRtError, build_plan, supported_capabilities
from realtime.engines.driver import Gpu
from realtime.engines.making import make_plans
from realtime.engines.plans import PlanCache
from realtime.engines.select import Precision
from realtime.engines.tensorrt import cached_or_built, plan_key
from stemctx_core.classifier.baselines import LEVELS, shipped_baselines_path
from stemctx_core.classifier.classifier import load_bundle, read_card, read_model
from stemctx_core.errors import InputError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed"
)
CAPABILITIES = ("SM86", "SM89", "SM120")


@pytest.fixture(scope="module")
def trt() -> object:
    import tensorrt_rtx

    return tensorrt_rtx


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    return tmp_path


def shipped(name: str) -> bytes:
    if name in LEVELS:
        folder = shipped_baselines_path()
        return read_model(folder, read_card(folder), name)
    return load_bundle(half=name == "fp16").onnx_bytes


@pytest.mark.parametrize("name", ["fp32", "fp16", *LEVELS])
def test_every_shipped_graph_compiles(name: str, trt: object, capfd: pytest.CaptureFixture[str]) -> None:
    """With free numbers of patches and candidates, for the three generations in one plan; silently."""
    assert len(build_plan(trt, shipped(name), CAPABILITIES)) > 10_000
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_scorer_compiles_for_each_generation_alone(capability: str, trt: object) -> None:
    assert len(build_plan(trt, shipped("fp32"), (capability,))) > 10_000


def test_the_shipped_graph_really_has_free_axes() -> None:
    graph = onnx.load_from_string(shipped("fp32")).graph
    free = {d.dim_param for i in graph.input for d in i.type.tensor_type.shape.dim if d.dim_param}
    assert free == {"patches", "candidates"}


def model(operator: str, axis: str = "patches", domain: str = "", **attributes: object) -> bytes:
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], domain=domain, **attributes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [axis, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def test_the_small_graph_that_the_broken_ones_are_made_of_compiles(trt: object) -> None:
    assert build_plan(trt, model("Relu"), ("SM89",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x08\x07not a graph", "cannot read"),
        (b"", "at least one output"),
        (b"\x80\x04cos\nsystem\n", "cannot read"),
        (model("FooBar"), "cannot read"),
        (model("Det"), "cannot read"),
        (model("RunsCode", domain="com.evil"), "cannot read"),
        (model("Relu", axis="pictures"), "'pictures' of unknown range"),
    ],
    ids=["noise", "empty", "pickle", "unknown", "unsupported", "custom", "axis"],
)
def test_a_broken_graph_is_refused_with_what_tensorrt_said(content: bytes, said: str, trt: object) -> None:
    with pytest.raises(TensorRtError, match=said):
        build_plan(trt, content, ("SM89",))


def test_a_shipped_graph_that_was_broken_is_refused(trt: object) -> None:
    for broken in ("cut", "shape", "type"):
        graph = onnx.load_from_string(shipped("fp32"))
        tensor = next(
            t for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2
        )
        array = numpy_helper.to_array(tensor)
        if broken == "shape":
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:-1, :-1]), tensor.name))
        elif broken == "type":
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
        content = graph.SerializeToString()
        with pytest.raises(TensorRtError):
            build_plan(trt, content[: len(content) // 2] if broken == "cut" else content, ("SM89",))


def test_a_gpu_that_it_does_not_compile_for_is_told(trt: object) -> None:
    assert set(CAPABILITIES) <= set(supported_capabilities(trt))
    with pytest.raises(TensorRtError, match="does not compile for SM90"):
        build_plan(trt, model("Relu"), ("SM90",))


def test_plans_made_ahead_of_time_are_kept_and_found_by_every_gpu_they_were_made_for(
    own_cache: Path, trt: object
) -> None:
    made = list(make_plans(None, tuple(Precision), CAPABILITIES))
    assert [m.precision for m in made] == ["fp32", "fp16"]
    cache = PlanCache()
    assert {r.key.name for r in cache.records()} == {m.record.key.name for m in made}
    content = shipped("fp32")
    for capability in CAPABILITIES:
        plan = cached_or_built(trt, content, Gpu("any", capability, "13.0"), cache)
        assert plan == cache.get(made[0].record.key)
    assert len(cache.records()) == 2
    # Of another generation, or damaged: built again.
    cached_or_built(trt, content, Gpu("any", "SM80", "13.0"), cache)
    assert len(cache.records()) == 3
    path = cache.folder / f"{made[0].record.key.name}.plan"
    path.write_bytes(path.read_bytes()[:-1])
    cached_or_built(trt, content, Gpu("any", "SM120", "13.0"), cache)
    assert cache.get(plan_key(trt, content, ("SM120",))) is not None
    assert json.loads((cache.folder / f"{made[0].record.key.name}.json").read_text())["size_bytes"] > 10_000


def test_what_cannot_be_made_here_is_told(own_cache: Path) -> None:
    with pytest.raises(InputError, match="does not compile for SM90"):
        list(make_plans(None, (Precision.FP32,), ("SM90",)))
    from realtime.engines.select import EngineKind

    with pytest.raises(InputError, match="for the GPU of this machine"):
        list(make_plans(None, (Precision.FP32,), ("SM89",), EngineKind.TENSORRT))
