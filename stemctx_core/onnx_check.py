"""What an ONNX file holds, read without running or trusting any of it.

Only the few fields of the protocol-buffer messages are decoded that a bundle's card speaks of (onnx.proto3 of ONNX
1.17), so that a bundle can be refused where neither the package `onnx` is installed nor a runtime has seen the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stemctx_core.errors import BundleError

_NAMES: Final = """
Abs Add Cast Clip Concat Constant ConstantOfShape Div Equal Erf Exp Expand Flatten Gather Gelu Gemm Greater
GreaterOrEqual Identity LayerNormalization Less LessOrEqual Log MatMul Max Min Mul Neg Not Pow Range
Reciprocal ReduceMean ReduceSum Reshape Shape Sign Slice Softmax Split Sqrt Squeeze Sub Sum Tanh TopK
Transpose Unsqueeze Where
"""
#: Operators that the shipped graphs are made of; all of the default domain, none reads a file or runs a subgraph.
ALLOWED_OPERATORS: Final = frozenset(_NAMES.split())
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


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
        Whether a node holds a graph, or the model functions.
    """

    opset: int
    domains: tuple[str, ...]
    operators: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    external: bool
    nested: bool


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
    if found.opset != opset:
        raise BundleError(f"The model is of opset {found.opset}, its card says {opset}. {fix}")
    if found.inputs != inputs:
        raise BundleError(
            f"The model takes {', '.join(found.inputs)}; its card says {', '.join(inputs)}. {fix}"
        )
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
    for field, value in _fields(model):
        if field == 8:
            entry = dict(_fields(_message(value)))
            opsets[_text(entry.get(1, b""))] = int(entry.get(2, 0))
        elif field == 7:
            graphs.append(_message(value))
        elif field == 25:
            nested = True
    if len(graphs) != 1 or "" not in opsets:
        raise ValueError("it has no graph or no operator set")
    operators, initialised, domains = set(), set(), set(opsets) - {"", "ai.onnx"}
    inputs: list[str] = []
    outputs: list[str] = []
    external = False
    for field, value in _fields(graphs[0]):
        if field == 1:
            for part, content in _fields(_message(value)):
                if part == 4:
                    operators.add(_text(content))
                elif part == 7:
                    domains |= {_text(content)} - {"", "ai.onnx"}
                elif part == 5:
                    attribute = list(_fields(_message(content)))
                    nested |= any(p in (6, 11) for p, _ in attribute)
                    external |= any(_is_external(_message(c)) for p, c in attribute if p in (5, 10))
        elif field == 5:
            tensor = _message(value)
            external |= _is_external(tensor)
            initialised |= {_text(c) for p, c in _fields(tensor) if p == 8}
        elif field in (11, 12):
            name = next(_text(c) for p, c in _fields(_message(value)) if p == 1)
            (inputs if field == 11 else outputs).append(name)
    taken = tuple(i for i in inputs if i not in initialised)
    return OnnxContents(
        opsets[""], tuple(sorted(domains)), frozenset(operators), taken, tuple(outputs), external, nested
    )


def _is_external(tensor: memoryview) -> bool:
    return any(field == 13 or (field == 14 and value) for field, value in _fields(tensor))


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a message is a number")
    return value


def _text(value: int | memoryview | bytes) -> str:
    if isinstance(value, int):
        raise ValueError("a text is a number")
    return bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if at + length > len(message):
            raise ValueError("it is cut")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
