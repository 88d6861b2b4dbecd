"""A model from a stranger is refused with the reason, and nothing of it runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from stemctx_core.classifier.classifier import load_bundle, shipped_bundle_path
from stemctx_core.classifier.onnx_check import read_contents
from stemctx_core.errors import BundleError


class Payload:
    """Makes a file where something unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_bundle_path(), tmp_path / "bundle"))


def put(bundle: Path, content: bytes, **card_says: Any) -> None:
    """Another model in a bundle whose card is made to agree with it, as a stranger would."""
    (bundle / "model.onnx").write_bytes(content)
    card = json.loads((bundle / "card.json").read_text())
    card["files"]["model.onnx"] |= {"sha256": hashlib.sha256(content).hexdigest(), **card_says}
    (bundle / "card.json").write_text(json.dumps(card))


def shipped() -> onnx.ModelProto:
    return onnx.load_from_string(load_bundle().onnx_bytes)


def operators(model: onnx.ModelProto) -> list[str]:
    return sorted({node.op_type for node in model.graph.node})


def weight(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2)


def tar_bytes() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("../../escaped")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"evil"))
    return held.getvalue()


def test_the_untouched_copy_is_taken(bundle: Path) -> None:
    put(bundle, (bundle / "model.onnx").read_bytes())
    load_bundle(bundle)


@pytest.mark.parametrize("place", ["bundle", "model", "card"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "tar"])
def test_fault_30_a_pickle_or_an_archive_is_not_a_model(
    place: str, kind: str, bundle: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    content = pickle.dumps(Payload(mark))
    if kind == "tar":
        content = tar_bytes()
    elif kind == "torch":  # a .pt file is a zip archive with a pickle in it
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        content = held.getvalue()
    path = bundle
    if place == "bundle":
        path = tmp_path / f"model.{kind}"
        path.write_bytes(content)
    elif place == "card":
        (bundle / "card.json").write_bytes(content)
    else:
        put(bundle, content)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(BundleError, match=r"cannot be read|not an ONNX file"):
        load_bundle(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert not mark.exists()


@pytest.mark.parametrize("place", ["weight", "constant", "sparse"])
@pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "link"])
def test_fault_30_weights_outside_the_file_are_refused(place: str, location: str, bundle: Path) -> None:
    (bundle / "link").symlink_to("/etc/passwd")
    model = shipped()
    tensor = onnx.TensorProto()
    tensor.CopyFrom(weight(model))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if place == "weight":
        weight(model).CopyFrom(tensor)
    elif place == "constant":
        model.graph.node.append(helper.make_node("Constant", [], ["outside"], value=tensor))
    else:
        model.graph.sparse_initializer.add(dims=[4]).values.CopyFrom(tensor)
    put(bundle, model.SerializeToString(), operators=operators(model))
    with pytest.raises(BundleError, match=r"in another file|sparse weights"):
        load_bundle(bundle)


def test_fault_30_a_link_in_place_of_the_model_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.onnx").rename(tmp_path / "outside.onnx")
    (bundle / "model.onnx").symlink_to(tmp_path / "outside.onnx")
    with pytest.raises(BundleError, match="a link"):
        load_bundle(bundle)


def test_fault_30_another_hash_is_refused(bundle: Path) -> None:
    model = shipped()
    raw = bytearray(weight(model).raw_data)
    raw[0] ^= 1
    weight(model).raw_data = bytes(raw)
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="sha256 differs"):
        load_bundle(bundle)


@pytest.mark.parametrize("card_agrees", [True, False])
def test_fault_30_an_extra_input_is_refused(card_agrees: bool, bundle: Path) -> None:
    model = shipped()
    names = [i.name for i in model.graph.input]
    model.graph.input.append(helper.make_tensor_value_info("command", TensorProto.STRING, [1]))
    said = {"inputs": [*names, "command"]} if card_agrees else {}
    put(bundle, model.SerializeToString(), **said)
    if card_agrees:
        card = json.loads((bundle / "card.json").read_text())
        (bundle / "card.json").write_text(json.dumps({**card, "inputs": [*names, "command"]}))
    with pytest.raises(BundleError, match=r"command|other inputs"):
        load_bundle(bundle)


def test_fault_30_an_extra_output_is_refused(bundle: Path) -> None:
    model = shipped()
    model.graph.output.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, [1]))
    put(bundle, model.SerializeToString())
    with pytest.raises(BundleError, match="2 outputs"):
        load_bundle(bundle)


@pytest.mark.parametrize("kind", ["domain", "name", "subgraph", "function", "training", "two versions"])
def test_fault_30_a_foreign_operator_is_refused(kind: str, bundle: Path) -> None:
    model = shipped()
    node = next(n for n in model.graph.node if n.op_type == "Add")
    if kind == "domain":
        node.op_type, node.domain = "RunsCode", "com.evil"
        model.opset_import.append(helper.make_opsetid("com.evil", 1))
    elif kind == "name":
        node.op_type = "PyOp"
    elif kind == "subgraph":
        node.attribute.append(helper.make_attribute("body", model.graph.__class__(name="inner")))
    elif kind == "function":
        model.functions.add(name="hidden", domain="com.evil")
    elif kind == "training":
        model.training_info.add()
    else:
        model.opset_import.append(helper.make_opsetid("ai.onnx", 1))
    put(bundle, model.SerializeToString(), operators=operators(model))
    with pytest.raises(BundleError, match=r"another domain|no bundle may have|twice"):
        load_bundle(bundle)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["float32", "float16", "listed", "constant", "attribute"])
def test_fault_30_weights_that_are_not_finite_are_refused(place: str, value: float, bundle: Path) -> None:
    model = shipped()
    tensor = weight(model)
    array = numpy_helper.to_array(tensor).copy()
    array[0, -1] = value
    if place == "float32":
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif place == "float16":
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    elif place == "listed":
        tensor.ClearField("raw_data")
        tensor.float_data.extend(array.ravel().tolist())
    elif place == "constant":
        spoilt = numpy_helper.from_array(array, "spoilt")
        model.graph.node.append(helper.make_node("Constant", [], ["spoilt"], value=spoilt))
    else:
        next(n for n in model.graph.node if n.op_type == "Gemm").attribute.append(
            helper.make_attribute("alpha", float(value))
        )
    put(bundle, model.SerializeToString(), operators=operators(model))
    with pytest.raises(BundleError, match="NaN or infinite"):
        load_bundle(bundle)


def test_a_field_number_that_readers_may_cut_is_refused() -> None:
    """Data outside the file under number 13 + 2^29, which a reader of 32 bits takes for 13."""
    tag = ((13 | 1 << 29) << 3) | 2
    varint = bytearray()
    while tag >= 0x80:
        varint.append(tag & 0x7F | 0x80)
        tag >>= 7
    tensor = bytes(varint) + bytes([tag, 0])
    graph = bytes([5 << 3 | 2, len(tensor)]) + tensor
    model = bytes([8 << 3 | 2, 2, 2 << 3, 20, 7 << 3 | 2, len(graph)]) + graph
    with pytest.raises(BundleError, match="number is too large"):
        read_contents(model)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_change_of_a_model_is_read_or_refused(data: st.DataObject) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0)], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
            [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
    ).SerializeToString()  # fmt: skip
    changed = bytearray(model)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    del changed[data.draw(st.integers(1, len(changed))) :]
    with contextlib.suppress(BundleError):
        read_contents(bytes(changed))
