"""What an ONNX file holds, read without running or trusting any of it.

Only the few fields of the protocol-buffer messages are decoded that a bundle's card speaks of (onnx.proto3 of ONNX
1.17), so that a bundle can be refused where neither the package `onnx` is installed nor a runtime has seen the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from stemctx_core.classifier.protobuf import fields, message, text
from stemctx_core.errors import BundleError

_NAMES: Final = """
Abs Add Cast Clip Concat Constant ConstantOfShape Div Equal Erf Exp Expand Flatten Gather Gelu Gemm Greater
GreaterOrEqual Identity LayerNormalization Less LessOrEqual Log MatMul Max Min Mul Neg Not Pow Range
Reciprocal ReduceMax ReduceMean ReduceSum Reshape Shape Sign Slice Softmax Split Sqrt Squeeze Sub Sum Tanh TopK
Transpose Unsqueeze Where
"""
#: Operators that the shipped graphs are made of; all of the default domain, none reads a file or runs a subgraph.
ALLOWED_OPERATORS: Final = frozenset(_NAMES.split())
_FLOAT, _INT32, _INT64, _BOOL, _FLOAT16, _DOUBLE = 1, 6, 7, 9, 10, 11
#: Element types that exported graphs have, and the layout of those whose values may fail to be finite.
_KINDS: Final = frozenset({_FLOAT, _INT32, _INT64, _BOOL, _FLOAT16, _DOUBLE})
_FLOATS: Final = {_FLOAT: "<f4", _FLOAT16: "<f2", _DOUBLE: "<f8"}
_NOT_FINITE: Final = "weights that are NaN or infinite"


@dataclass(frozen=True)
class OnnxContents:
    """What a graph needs of a runtime.

    Attributes
    ----------
    opset
        Version of the default operator set.
    domains
        Operator sets beside the default one.
    operators, inputs, outputs
        Names; those of the inputs in order.
    external
        Whether a tensor lies in another file.
    nested
        Whether a node holds a graph, or the model functions or a training.
    unusable
        Why some of its numbers cannot be used: not finite, sparse, or of a kind that no bundle has.
    """

    opset: int
    domains: tuple[str, ...]
    operators: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    external: bool
    nested: bool
    unusable: tuple[str, ...] = ()


def read_contents(content: bytes) -> OnnxContents:
    """Read a model's bytes.

    Raises
    ------
    BundleError
        Where they are not an ONNX model.
    """
    try:
        return _contents(memoryview(content))
    except (IndexError, ValueError, UnicodeDecodeError) as error:
        raise BundleError(f"The model is not an ONNX file: {error}. Reinstall the bundle.") from error


def check_contents(found: OnnxContents, opset: int, inputs: tuple[str, ...], operators: frozenset[str]) -> None:
    """Raise `BundleError` where a model is not as its card says, or holds what no bundle may."""
    fix = "Use a bundle as exported by 'stemctx train'."
    if found.external:
        raise BundleError(f"The model keeps weights in another file. {fix}")
    if found.nested or found.domains:
        raise BundleError(f"The model has functions, subgraphs or operators of another domain. {fix}")
    if found.unusable:
        raise BundleError(f"The model has {', '.join(found.unusable)}. {fix}")
    if found.opset != opset:
        raise BundleError(f"The model is of opset {found.opset}, its card says {opset}. {fix}")
    if found.inputs != inputs:
        raise BundleError(
            f"The model takes {', '.join(found.inputs)}; its card says {', '.join(inputs)}. {fix}"
        )
    if len(found.outputs) != 1:
        raise BundleError(f"The model gives {len(found.outputs)} outputs instead of one. {fix}")
    if found.operators != operators:
        differing = ", ".join(sorted(found.operators ^ operators))
        raise BundleError(f"The operators of the model are not those of its card ({differing}). {fix}")
    if foreign := found.operators - ALLOWED_OPERATORS:
        raise BundleError(
            f"The model has operators that no bundle may have ({', '.join(sorted(foreign))}). {fix}"
        )


def _contents(model: memoryview) -> OnnxContents:
    opsets: dict[str, int] = {}
    graphs, nested = [], False
    for field, value in fields(model):
        if field == 8:
            domain, version = _operator_set(message(value))
            if domain in opsets:
                raise ValueError(f"it names the operator set '{domain}' twice")
            opsets[domain] = version
        elif field == 7:
            graphs.append(message(value))
        elif field in (20, 25):  # training, functions
            nested = True
    if len(graphs) != 1 or "" not in opsets:
        raise ValueError("it has no graph or no operator set, or several")
    found = _Graph(graphs[0])
    return OnnxContents(
        opset=opsets[""],
        domains=tuple(sorted((found.domains | set(opsets)) - {""})),
        operators=frozenset(found.operators),
        inputs=tuple(i for i in found.inputs if i not in found.initialised),
        outputs=tuple(found.outputs),
        external=any(map(_is_external, found.tensors)),
        nested=nested or found.nested,
        unusable=tuple(sorted({why for t in found.tensors if (why := _unusable(t))} | found.unusable)),
    )


def _operator_set(content: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for field, value in fields(content):
        if field == 1:
            domain = _domain(value)
        elif field == 2:
            if not isinstance(value, int):
                raise ValueError("the version of an operator set is no number")
            version = value
    return domain, version


def _domain(value: int | memoryview) -> str:
    return "" if (name := text(value)) == "ai.onnx" else name


class _Graph:
    """Names, and all tensors wherever they are kept, of a GraphProto."""

    def __init__(self, content: memoryview) -> None:
        self.operators: set[str] = set()
        self.domains: set[str] = set()
        self.initialised: set[str] = set()
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.tensors: list[memoryview] = []
        self.unusable: set[str] = set()
        self.nested = False
        for field, value in fields(content):
            if field == 1:
                self._node(message(value))
            elif field == 5:
                tensor = message(value)
                self.tensors.append(tensor)
                self.initialised |= {text(c) for p, c in fields(tensor) if p == 8}
            elif field == 15:
                self.unusable.add("sparse weights")
            elif field in (11, 12):
                names = [text(c) for p, c in fields(message(value)) if p == 1]
                if len(names) != 1:
                    raise ValueError("an input or output has no name")
                (self.inputs if field == 11 else self.outputs).append(names[0])

    def _node(self, content: memoryview) -> None:
        for field, value in fields(content):
            if field == 4:
                self.operators.add(text(value))
            elif field == 7:
                self.domains.add(_domain(value))
            elif field == 5:
                self._attribute(message(value))

    def _attribute(self, content: memoryview) -> None:
        for field, value in fields(content):
            if field in (6, 11):
                self.nested = True
            elif field in (5, 10):
                self.tensors.append(message(value))
            elif field in (22, 23):
                self.unusable.add("sparse weights")
            elif field in (2, 7) and not _finite(message(value), "<f4"):
                self.unusable.add(_NOT_FINITE)


def _is_external(tensor: memoryview) -> bool:
    return any(field == 13 or (field == 14 and value) for field, value in fields(tensor))


def _unusable(tensor: memoryview) -> str:
    """Why the numbers of a TensorProto cannot be used; empty where they can."""
    parts = list(fields(tensor))
    kinds = {value for field, value in parts if field == 2}
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    layout = _FLOATS.get(kind) if isinstance(kind, int) else None
    for field, value in parts:
        if field in (4, 10) and not _finite(message(value), "<f4" if field == 4 else "<f8"):
            return _NOT_FINITE
        if field == 9 and layout is not None and not _finite(message(value), layout):
            return _NOT_FINITE
        if field == 5 and kinds != {_INT32}:
            return "numbers kept as another kind"
    return "" if kind in _KINDS else "numbers of a kind that no bundle has"


def _finite(content: memoryview, layout: str) -> bool:
    if len(content) % np.dtype(layout).itemsize:
        raise ValueError("a list of numbers is cut")
    return bool(np.isfinite(np.frombuffer(content, layout)).all())
