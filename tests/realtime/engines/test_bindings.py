"""Our TensorRT code against NVIDIA's own Python bindings of TensorRT 10.16 and 11.4, and of TensorRT-RTX.

The libraries behind the bindings are over 1 GB and need a GPU. The bindings themselves need nine C functions to be
imported; a library of nothing else gives them, so that their names and types can be asked for. Nothing is executed
by it: what runs is mypy, over our sources, with stubs made from the bindings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import realtime.engines

# Downloads about 12 MB of wheels and runs mypy seven times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VERSIONS = {"10": "10.16.1.11", "11": "11.4.0.106"}
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")
SYMBOLS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
    "getNvOnnxParserVersion",
]
#: Sources in which `trt`, or a thing of that module, is used.
SOURCES = ("builder", "tensorrt", "lane", "rtx", "trt_log")
#: What they call on things of TensorRT that both versions have.
METHODS = (
    "parse",
    "get_error",
    "num_errors",
    "set_memory_pool_limit",
    "clear_flag",
    "num_inputs",
    "get_input",
    "set_shape",
    "add_optimization_profile",
    "build_serialized_network",
    "get_dimension_name",
    "desc",
    "node_name",
    "get_tensor_name",
    "num_io_tensors",
    "get_tensor_dtype",
    "get_tensor_mode",
    "create_execution_context",
    "set_input_shape",
    "infer_shapes",
    "get_tensor_shape",
    "set_tensor_address",
    "execute_async_v3",
    "create_runtime_config",
)
#: And what makes those things: misspelt, mypy knows nothing of what it made.
FACTORIES = (
    "create_network",
    "create_builder_config",
    "create_optimization_profile",
    "deserialize_cuda_engine",
)
#: What TensorRT-RTX has and TensorRT has not.
RTX_ONLY = ("num_compute_capabilities", "set_compute_capability", "ComputeCapability", "CudaGraphStrategy",
            "cuda_graph_strategy", "create_runtime_cache", "set_runtime_cache")  # fmt: skip
#: The way before TensorRT 10, and before 11: what the check has to find.
OLD_STYLE = """
from typing import Any
def old(trt: Any) -> None:
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.FP16)
    config.max_workspace_size = 1
    print(builder.platform_has_fast_fp16, network.get_layer(0).precision)
    builder.build_engine(network, config)
"""
GONE = {
    "10": {"max_workspace_size", "build_engine"},
    "11": {
        "max_workspace_size",
        "build_engine",
        "EXPLICIT_BATCH",
        "FP16",
        "platform_has_fast_fp16",
        "precision",
    },
}


def run(*command: str | Path, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of both versions, the maker of stubs and cuda-bindings, unpacked."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("gcc on Linux is needed to make a library that the bindings can be imported with")
    folder = tmp_path_factory.mktemp("bindings")
    wanted = {
        "tools": ["pybind11-stubgen==3.0.0", "cuda-bindings>=13", "cuda-pathfinder"],
        **{v: [f"tensorrt-cu13-bindings=={full}"] for v, full in VERSIONS.items()},
    }
    for place, packages in wanted.items():
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:",
             "--disable-pip-version-check", "--target", str(folder / place), *packages],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"{', '.join(packages)} cannot be had from PyPI: {done.stderr.strip()[-300:]}")
    source = folder / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for version in VERSIONS:
        for library in LIBRARIES:
            made = folder / f"lib{version}" / f"{library}.so.{version}"
            made.parent.mkdir(exist_ok=True)
            run("gcc", "-shared", "-fPIC", "-o", made, source)
    return folder


def with_bindings(room: Path, version: str) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{room / version}{os.pathsep}{room / 'tools'}",
        "LD_LIBRARY_PATH": str(room / f"lib{version}"),
    }


@pytest.fixture(scope="module")
def stubs(room: Path) -> dict[str, Path]:
    """Version to a folder with a package `tensorrt` of types only; `rtx` is TensorRT-RTX where it is installed."""
    made = {}
    for version in VERSIONS:
        run(sys.executable, "-m", "pybind11_stubgen", "tensorrt_bindings.tensorrt", "--ignore-all-errors",
            "-o", room / f"raw{version}", **with_bindings(room, version))  # fmt: skip
        made[version] = stub_package(
            room, version, room / f"raw{version}" / "tensorrt_bindings" / "tensorrt.pyi"
        )
    import importlib.util

    if importlib.util.find_spec("tensorrt_rtx"):
        # Its libraries are found by importing the package first.
        code = (
            "import tensorrt_rtx, sys, pybind11_stubgen; sys.argv = ['x', 'tensorrt_rtx_bindings.tensorrt_rtx', "
            f"'--ignore-all-errors', '-o', {str(room / 'rawrtx')!r}]; pybind11_stubgen.main()"
        )
        run(sys.executable, "-c", code, PYTHONPATH=str(room / "tools"))
        made["rtx"] = stub_package(room, "rtx", room / "rawrtx" / "tensorrt_rtx_bindings" / "tensorrt_rtx.pyi")
    return made


def stub_package(room: Path, version: str, raw: Path) -> Path:
    """A package of the stubs, in which the few definitions that are no Python take anything."""
    import ast

    lines = raw.read_text().split("\n")
    while True:
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            at = (error.lineno or 1) - 1
            while not (found := re.match(r"(\s*)def (\w+)\(", lines[at])):
                at -= 1
            assert "*a: typing.Any" not in lines[at], lines[at]
            colon = (
                "" if lines[at].rstrip().endswith("...") else " ..." if lines[at + 1 : at + 2] == [""] else ""
            )
            lines[at] = f"{found[1]}def {found[2]}(self, *a: typing.Any, **k: typing.Any) -> typing.Any:{colon}"
    package = room / f"stubs{version}" / "tensorrt"
    package.mkdir(parents=True)
    # The version stands in the package around the module; that it does is tested above.
    (package / "__init__.pyi").write_text("\n".join([*lines, "__version__: str"]))
    return package.parent


def typed(source: str) -> str:
    """Our source with the module itself in place of every `trt` that is handed on, so that mypy knows what it is."""
    without = re.sub(r"\btrt: Any(, )?", "", source)
    without = without.replace("trt = importlib.import_module(package)", "pass")
    return without.replace("from typing import", "import tensorrt as trt\nfrom typing import", 1)


def missing_names(room: Path, stub: Path, sources: dict[str, str]) -> set[str]:
    """Names that sources use and the bindings have not, as mypy finds them."""
    paths = [room / "checked" / stub.name / f"checked_{name}.py" for name in sources]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, source in zip(paths, sources.values(), strict=True):
        path.write_text(source)
    said = run(sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", room / f"mypy{stub.name}",
               "--follow-imports=silent", "--ignore-missing-imports", "--check-untyped-defs", *paths,
               check=False, MYPYPATH=str(stub))  # fmt: skip
    assert "error: Cannot find" not in said, said
    assert re.search(rf"checked {len(sources)} source file|Success", said), said
    return {
        match[1]
        for line in said.splitlines()
        if line.endswith("[attr-defined]") and "/checked_" in f"/{line}"
        for match in re.finditer(r'has no attribute "(\w+)"', line)
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_bindings_are_nvidias_and_cannot_build_here(version: str, room: Path) -> None:
    code = "import json, tensorrt_bindings as t; print(json.dumps([t.__version__, len(dir(t))]))"
    found, names = json.loads(run(sys.executable, "-c", code, **with_bindings(room, version)))
    assert found == VERSIONS[version]
    assert names > 200


@pytest.mark.parametrize("version", VERSIONS)
def test_our_builder_on_the_real_bindings_without_a_device_is_an_error_and_not_a_crash(
    version: str, room: Path
) -> None:
    code = """
import json, sys
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from realtime.engines.builder import TensorRtError, build_plan
from stemctx_core.classifier.classifier import load_bundle
try:
    build_plan(tensorrt_bindings, load_bundle().onnx_bytes)
except TensorRtError as error:
    print(json.dumps(str(error)))
"""
    environment = with_bindings(room, version)
    environment["PYTHONPATH"] += os.pathsep + str(Path(realtime.engines.__file__).parents[3])
    assert "gives no builder" in json.loads(run(sys.executable, "-c", code, **environment).splitlines()[-1])


@pytest.mark.parametrize("version", [*VERSIONS, "rtx"])
def test_every_name_that_we_use_exists(version: str, room: Path, stubs: dict[str, Path]) -> None:
    if version not in stubs:
        pytest.skip("tensorrt-rtx is not installed")
    folder = Path(realtime.engines.__file__).parent
    sources = {name: typed((folder / f"{name}.py").read_text()) for name in SOURCES}
    missing = missing_names(room, stubs[version], sources)
    assert missing == (set() if version == "rtx" else set(RTX_ONLY))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_check_finds_the_old_ways(version: str, room: Path, stubs: dict[str, Path]) -> None:
    assert missing_names(room, stubs[version], {"old": typed(OLD_STYLE)}) == GONE[version]


@pytest.mark.parametrize("names", [METHODS, FACTORIES], ids=["methods", "factories"])
def test_the_check_sees_every_name_that_we_call(
    names: tuple[str, ...], room: Path, stubs: dict[str, Path]
) -> None:
    """Each name that we call on something of TensorRT is misspelt: mypy finds them all."""
    folder = Path(realtime.engines.__file__).parent
    sources = {}
    for name in SOURCES:
        source = typed((folder / f"{name}.py").read_text())
        for method in names:
            source = re.sub(rf"\.{method}\b", f".{method}_misspelt", source)
        sources[name] = source
    found = missing_names(room, stubs["11"], sources)
    assert {f"{method}_misspelt" for method in names} - found == set()


def test_every_name_of_cuda_bindings_exists_and_no_driver_is_an_error(room: Path) -> None:
    """The real package; without a driver its calls give a code, and ours raise it."""
    names = re.findall(
        r"\.api\.(cuda\w+(?:\.cuda\w+)?)", (Path(realtime.engines.__file__).parent / "device.py").read_text()
    )
    names += re.findall(r"\.api\.(cuda\w+)", (Path(realtime.engines.__file__).parent / "lane.py").read_text())
    code = f"""
import json, operator
from cuda.bindings import runtime
from realtime.engines.builder import TensorRtError
from realtime.engines.device import Cuda, Staged
missing = []
for name in {sorted(set(names))!r}:
    try:
        operator.attrgetter(name)(runtime)
    except AttributeError:
        missing.append(name)
try:
    cuda = Cuda()
    staged = Staged.make(cuda, (3, 4))
    staged.host[...] = 2.0
    staged.upload(cuda)
    staged.host[...] = 0.0
    staged.download(cuda)
    cuda.wait()
    said = "copied" if (staged.host == 2.0).all() else "not copied"
    staged.free(cuda)
    cuda.close()
except TensorRtError as error:
    said = str(error)
print(json.dumps([missing, said]))
"""
    environment = {"PYTHONPATH": f"{room / 'tools'}{os.pathsep}{Path(realtime.engines.__file__).parents[3]}"}
    answer: Any = json.loads(run(sys.executable, "-c", code, **environment).splitlines()[-1])
    missing, said = answer
    assert len(set(names)) > 12
    assert missing == []
    assert said == "copied" or "failed (cudaError" in said, said
