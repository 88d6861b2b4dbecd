"""ONNX to plan with TensorRT 10, 11 or TensorRT-RTX: strongly typed, so precision is the ONNX graph's own.

A parameter called ``trt`` is one of the modules ``tensorrt`` and ``tensorrt_rtx``, whose names are the same but for
those at the end of this module. Only names that TensorRT 10.16 and 11.4 both have are used; a test holds that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from realtime.engines.trt_log import new_logger
from stemctx_core.errors import StemctxError

if TYPE_CHECKING:
    # Types only: a test checks them against NVIDIA's own bindings.
    import tensorrt

#: Most patches in one call; more are run in turns, since larger batches gain nothing.
LARGEST_BATCH: Final = 1024
#: Range of every dynamic axis by its name in the exported graph: least, typical, most.
AXIS_RANGES: Final = {"patches": (1, 1024, LARGEST_BATCH), "candidates": (2, 8, 64)}
#: Names the ranges, and the way of building, in the key of a plan. Changes when either does.
PROFILE: Final = "patches 1-1024, candidates 2-64, no TF32, 1 GiB"
_WORKSPACE_BYTES: Final = 1 << 30


class TensorRtError(StemctxError):
    """TensorRT cannot build or run this model here; the caller falls back to the CPU."""


def build_plan(trt: Any, onnx_bytes: bytes, capabilities: tuple[str, ...] = ()) -> bytes:
    """Compile a model.

    Parameters
    ----------
    trt
        The module ``tensorrt`` or ``tensorrt_rtx``.
    capabilities
        TensorRT-RTX only: GPUs to compile for, such as ``SM89``, on a machine without one.

    Raises
    ------
    TensorRtError
        With what TensorRT said.
    """
    logger = new_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # what pybind11 makes of a factory that gives nothing
        raise TensorRtError(f"TensorRT gives no builder here ({error}); is there a working GPU?") from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        said = "; ".join(_said(parser.get_error(i)) for i in range(parser.num_errors))
        raise TensorRtError(f"TensorRT cannot read the model: {said}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    # TF32 keeps 10 bits of a number; squared distances of hundreds would lose what tells candidates apart.
    config.clear_flag(trt.BuilderFlag.TF32)
    if capabilities:
        _target(trt, config, capabilities)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        least, typical, most = zip(
            *(_axis(tensor, axis, size) for axis, size in enumerate(tuple(tensor.shape))), strict=True
        )
        profile.set_shape(tensor.name, least, typical, most)
    if config.add_optimization_profile(profile) < 0:
        raise TensorRtError("TensorRT refused the range of batch sizes")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRtError(f"TensorRT could not build the model: {'; '.join(logger.errors)}")
    return bytes(memoryview(plan))


def _said(error: tensorrt.ParserError) -> str:
    node = f" (node {name})" if (name := error.node_name()) else ""
    return f"{error.desc()}{node}"


def _axis(tensor: tensorrt.ITensor, axis: int, size: int) -> tuple[int, int, int]:
    if size >= 0:
        return size, size, size
    name = tensor.get_dimension_name(axis)
    try:
        return AXIS_RANGES[name]
    except KeyError:
        raise TensorRtError(f"'{tensor.name}' has a free axis '{name}' of unknown range") from None


# What only TensorRT-RTX has.


def supported_capabilities(trt: Any) -> tuple[str, ...]:
    """GPUs that TensorRT-RTX compiles for; empty for TensorRT, which builds for the GPU at hand."""
    names = getattr(trt, "ComputeCapability", None)
    return tuple(sorted(n for n in dir(names) if n.startswith("SM"))) if names else ()


def _target(trt: Any, config: tensorrt.IBuilderConfig, capabilities: tuple[str, ...]) -> None:
    known = supported_capabilities(trt)
    if unknown := sorted(set(capabilities) - set(known)):
        raise TensorRtError(
            f"{trt.__name__} {trt.__version__} does not compile for {', '.join(unknown)}, only for "
            f"{', '.join(known) or 'the GPU of this machine'}"
        )
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        if not config.set_compute_capability(getattr(trt.ComputeCapability, name), index):
            raise TensorRtError(f"{trt.__name__} refused to compile for {name}")
