"""Files that are not what they should be, and machines that lack a runtime."""

import json
import shutil
import sys
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from semreid.errors import SemreidError
from semreid.export import Exported, export_model, graph
from semreid.models.exported import UNSIGNED, signed
from semreid.models.loading import load_embedder


def copied(exported: Exported, folder: Path) -> Path:
    for file in exported.files:
        shutil.copy(file, folder)
    return folder / exported.files[0].name


def refuse(path: Path, message: str) -> SemreidError:
    with pytest.raises(SemreidError, match=message) as caught:
        load_embedder(path)
    return caught.value


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_onnx_file(onnx_file: Exported, tmp_path: Path, share: float) -> None:
    path = copied(onnx_file, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "semreid export" in refuse(path, "onnxruntime cannot load|was not made by semreid|is damaged").fix


@pytest.mark.parametrize("name", ["person.xml", "person.bin"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_openvino_file(openvino_file: Exported, tmp_path: Path, name: str, share: float) -> None:
    path = copied(openvino_file, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    refuse(path, "OpenVINO cannot load|does not belong|is damaged")


def test_weights_of_another_model_or_none(openvino_file: Exported, tmp_path: Path) -> None:
    path = copied(openvino_file, tmp_path)
    weights = path.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    refuse(path, r"person\.bin does not belong")
    weights.unlink()
    refuse(path, "lacks its weights")


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), name=st.sampled_from(["onnx", "openvino"]))
def test_any_changed_byte_is_noticed(request, tmp_path: Path, place: float, flip: int, name: str) -> None:
    path = copied(request.getfixturevalue(f"{name}_file"), tmp_path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    refuse(path, str(path))


@pytest.mark.parametrize("name", ["a.onnx", "a.xml"])
def test_other_files_and_missing_ones(tmp_path: Path, name: str) -> None:
    refuse(tmp_path / name, "no exported model at")
    (tmp_path / name).write_text("hello")
    (tmp_path / name).with_suffix(".bin").write_text("")
    refuse(tmp_path / name, "cannot load")


def identity(opset: int = 18) -> onnx.ModelProto:
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("images", "embedding")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["embedding"])], "g", [sides[0]], [sides[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_a_network_of_somebody_else(tmp_path: Path) -> None:
    onnx.save(identity(), tmp_path / "a.onnx")
    assert "semreid export" in refuse(tmp_path / "a.onnx", "was not made by semreid").fix


def test_an_operator_set_that_the_runtime_does_not_know(tmp_path: Path) -> None:
    onnx.save(identity(opset=999), tmp_path / "a.onnx")
    assert "update onnxruntime" in refuse(tmp_path / "a.onnx", "onnxruntime cannot load .*999").fix


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 1}, "has format 1"), ({"dim": "wide"}, "'dim'"), ({"colour": 1}, "'colour'")],
)
def test_metadata_that_this_version_does_not_read(onnx_file, tmp_path: Path, change: dict, message: str) -> None:
    path = copied(onnx_file, tmp_path)
    model = onnx.load(path)
    content = json.loads(model.metadata_props[0].value)
    helper.set_model_props(model, {"semreid": json.dumps({**content, "file_sha256": UNSIGNED, **change})})
    path.write_bytes(signed(model.SerializeToString())[0])
    refuse(path, message)


@pytest.mark.parametrize(
    ("package", "kind", "extra"), [("onnxruntime", "onnx", "export"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_runtime(request, tmp_path: Path, monkeypatch, package: str, kind: str, extra: str) -> None:
    path = request.getfixturevalue(f"{kind}_file").files[0]
    monkeypatch.setitem(sys.modules, package, None)
    assert refuse(path, "is not installed").fix == f"pip install 'semreid[{extra}]'"


@pytest.mark.parametrize(
    ("package", "kind", "extra"), [("onnxscript", "onnx", "export"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_exporter(run_folder, to_onnx, tmp_path, monkeypatch, package: str, kind: str, extra: str) -> None:
    if package == "onnxscript":
        monkeypatch.setattr(graph, "to_onnx", to_onnx)
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / {"onnx": "a.onnx", "openvino": "a.xml"}[kind]
    with pytest.raises(SemreidError, match="is not installed") as caught:
        export_model(run_folder, out, kind=kind)
    assert caught.value.fix == f"pip install 'semreid[{extra}]'"
    assert list(tmp_path.iterdir()) == []
