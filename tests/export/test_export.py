import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from semreid import export
from semreid.data.images import resize
from semreid.data.listing import list_images
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.export import Exported, export_model
from semreid.export.agreement import Int8
from semreid.functional import calibrate
from semreid.models.card import read_calibration, save_calibration
from semreid.models.embedder import Embedder
from semreid.models.exported import ExportedModel
from semreid.models.loading import load_embedder
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import full_disk, write_image
from tests.functional.test_pairs import crowd

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest) -> Exported:
    return request.getfixturevalue(f"{request.param}_file")


@pytest.fixture
def embedder(exported: Exported) -> Embedder:
    return load_embedder(exported.files[0])


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()


def same_order(a: np.ndarray, b: np.ndarray, slack: float = 1e-5) -> bool:
    """Whether b ranks as a does, but for items that a holds equally far."""
    order = np.argsort(-(b @ b.T), axis=1, kind="stable")
    return bool((np.diff(np.take_along_axis(a @ a.T, order, 1), axis=1) < slack).all())


@pytest.mark.parametrize("flip", [False, True])
def test_parity_at_every_batch_size(model: ReIDModel, embedder: Embedder, crops: list[np.ndarray], flip: bool) -> None:
    expected = model.embed(crops, flip=flip)
    assert (expected @ expected.T).min() < 0.7  # the crops are far from all alike
    for batch_size in (1, 3, 64):
        found = embedder.embed(iter(crops), batch_size=batch_size, flip=flip)
        assert found.dtype == np.float32
        assert least_cosine(found, expected) >= 0.99999
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert same_order(expected, found)
    raw = embedder.embed(crops, flip=flip, unit=False)
    np.testing.assert_allclose(raw, model.embed(crops, flip=flip, unit=False), rtol=1e-3, atol=1e-4)


def test_an_exported_file_is_an_embedder_like_its_model(
    model: ReIDModel, embedder: Embedder, crops: list[np.ndarray], tmp_path: Path
) -> None:
    assert (embedder.fingerprint, embedder.dim, embedder.size) == (model.fingerprint, model.dim, model.size)
    path = write_image(tmp_path / "a.png", crops[0])
    np.testing.assert_array_equal(embedder.embed([path, str(path)]), embedder.embed([crops[0]] * 2))
    assert embedder.embed([]).shape == (0, model.dim)
    for wrong in (["nowhere.png"], [np.zeros((4, 4))], "a.png"):
        messages = []
        for one in (model, embedder):
            with pytest.raises(SemreidError) as caught:
                one.embed(wrong)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


def test_threads_may_share_it(embedder: Embedder, crops: list[np.ndarray]) -> None:
    expected = embedder.embed(crops)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embedder.embed(crops), range(12)):
            np.testing.assert_array_equal(found, expected)


def test_identical_ranking_on_real_crops(model: ReIDModel, embedder: Embedder, real_crops: Path) -> None:
    paths = list_images(real_crops / "labeled", nested=True)[::40]
    expected, found = model.embed(paths), embedder.embed(paths)
    assert least_cosine(found, expected) >= 0.99999
    assert same_order(expected, found)


def test_the_file_tells_what_it_is(exported: Exported, model: ReIDModel, run_folder: Path) -> None:
    metadata = load_embedder(exported.files[0]).metadata
    assert metadata == exported.metadata
    assert metadata.terms == "figures: free for all"
    assert metadata.card == json.loads((run_folder / "card.json").read_text())
    assert (metadata.precision, metadata.input, metadata.fingerprint) == ("fp32", "uint8", model.fingerprint)
    assert exported.cosine >= 0.99999


def test_the_file_holds_what_inference_needs_and_no_trace_of_the_machine(exported: Exported, model: ReIDModel) -> None:
    content = b"".join(file.read_bytes() for file in exported.files)
    assert b"classifier" not in content
    assert str(ROOT).encode() not in content
    assert len(content) < 1.2 * sum(4 * t.numel() for t in model.inference_state().values()) + 200_000


def test_the_onnx_graph_is_for_any_batch_and_has_its_normalisations_folded(onnx_file: Exported) -> None:
    graph = onnx.load(onnx_file.files[0]).graph
    onnx.checker.check_model(str(onnx_file.files[0]), full_check=True)
    (images,) = graph.input
    sides = [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim]
    assert (images.name, images.type.tensor_type.elem_type, sides) == (
        "images",
        onnx.TensorProto.UINT8,
        ["batch", 128, 64, 3],
    )
    assert [o.name for o in graph.output] == ["embedding", "norm"]
    operators = [node.op_type for node in graph.node]
    winograd = operators.count("MatMul") // 4
    assert winograd > 0
    assert operators.count("Conv") == 20 - winograd
    assert operators.count("BatchNormalization") == 1 + winograd  # that of the neck, and those after a product


def test_float_input_is_what_trackers_feed(
    run_folder: Path, model: ReIDModel, crops: list[np.ndarray], tmp_path: Path
) -> None:
    """The oracle prepares a frame of OpenCV as BoxMOT does: BGR to RGB, /255, ImageNet mean and deviation, NCHW."""
    out = tmp_path / "resnet50_person.onnx"
    exported = export_model(run_folder, out, float_input=True)
    assert exported.metadata.input == "float32"
    frames = [cv2.cvtColor(crop, cv2.COLOR_RGB2BGR) for crop in crops[:4]]
    rgb = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]).astype(np.float32) / 255
    images = ((rgb - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    found = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: images})[0]
    assert least_cosine(found, model.embed(crops[:4])) >= 0.99999
    with pytest.raises(SemreidError, match="normalised") as caught:
        load_embedder(out)
    assert "--float-input" in caught.value.fix


@pytest.mark.timeout(400)  # PyTorch traces all heads, which takes half a minute where nothing else runs
def test_models_like_those_that_ship_export_in_both_precisions(
    crops: list[np.ndarray], figure_data: ReIDDataset, tmp_path: Path, monkeypatch
) -> None:
    """A trunk with instance normalisation, all heads, and a parser of another size that fades the background."""
    torch.manual_seed(1)
    trunk = {"trunk": "resnet18_ibn_a", "width": 0.125, "pool": "gem", "parts": ("parsing", "srb", "sfb", "stages")}
    parser = {"trunk": "resnet18", "width": 0.125, "last_stride": 2, "size": (64, 32), "white_balance": True}
    other = create_model("unified", 3, **trunk, size=(96, 48), dim=32, foreground=parser)
    pictures = torch.stack([torch.from_numpy(resize(crop, other.size)) for crop in crops]).permute(0, 3, 1, 2)
    with torch.no_grad():
        for _ in range(20):
            other(pictures)
    other.eval()
    monkeypatch.setattr(export, "load_model", lambda path: other)
    export_model("baseline", tmp_path / "other.onnx")
    assert least_cosine(load_embedder(tmp_path / "other.onnx").embed(crops), other.embed(crops)) >= 0.99999
    int8 = Int8(figure_data, max_map_loss=50, least_cosine=0.8, mean_cosine=0.95, same_neighbours=0.5)  # random weights
    done = export_model("baseline", tmp_path / "other.xml", kind="openvino", int8=int8)
    assert 0.95 < done.metadata.measured["mean_cosine"] < 0.99999


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_body_regions_are_further_outputs(kind, magnifiernet, crops, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "load_model", lambda path: magnifiernet)
    out = tmp_path / f"parts{export.SUFFIXES[kind]}"
    export_model("magnifiernet", out, kind=kind)
    loaded = load_embedder(out)
    for flip in (False, True):
        expected = magnifiernet.embed(crops, flip=flip, parts=True)
        found = loaded.embed(iter(crops), batch_size=3, flip=flip, parts=True)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.visibility, expected.visibility, atol=1e-6)
        np.testing.assert_allclose(found.regions, expected.regions, atol=1e-4)
        assert (expected.visibility == 0).any()  # the crops show how a region that is not there comes out
        assert least_cosine(found.embedding, expected.embedding) >= 0.99999
        assert found.blocks.keys() == expected.blocks.keys()
        assert all(least_cosine(found.blocks[name], expected.blocks[name]) >= 0.99999 for name in found.blocks)
        assert found.names == expected.names
    for one in (magnifiernet, loaded):  # of no crops, the same shapes
        nothing = one.embed([], flip=True, parts=True)
        assert (len(nothing), nothing.regions.shape, nothing.names) == (0, (0, *found.regions.shape[1:]), found.names)
        assert one.embed([]).shape == (0, magnifiernet.dim)


def test_without_regions_there_are_no_parts(model: ReIDModel, embedder: ExportedModel, crops) -> None:
    messages = []
    for one in (model, embedder):
        with pytest.raises(SemreidError, match="no body regions") as caught:
            one.embed(crops, parts=True)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_int8_is_kept_when_it_is_good_enough(kind, run_folder, figure_data: ReIDDataset, crops, tmp_path: Path) -> None:
    out = tmp_path / f"small{export.SUFFIXES[kind]}"
    exported = export_model(run_folder, out, kind=kind, int8=Int8(figure_data, max_map_loss=50))
    assert exported.metadata.precision == "int8"
    measured = load_embedder(out).metadata.measured
    assert measured["dataset"] == figure_data.name
    assert measured["mAP"] - measured["mAP_int8"] <= 50
    assert measured["mAP_chance"] + 5 < measured["mAP"]
    assert 0.9 < measured["least_cosine"] <= measured["mean_cosine"] < 1
    weights = max(out.stat().st_size, out.with_suffix(".bin").stat().st_size if kind == "openvino" else 0)
    assert weights < 0.5 * (run_folder / "model.safetensors").stat().st_size
    assert 0.9 < least_cosine(load_embedder(out).embed(crops), load_embedder(run_folder).embed(crops)) < 0.99999


def test_int8_that_loses_too_much_is_refused_and_nothing_kept(
    run_folder, figure_data, tmp_path: Path, monkeypatch
) -> None:
    real, anything = ExportedModel.embed, {"least_cosine": -1, "mean_cosine": -1, "same_neighbours": 0}
    monkeypatch.setattr(ExportedModel, "embed", lambda self, *a, **k: np.roll(real(self, *a, **k), 3, axis=0))
    with pytest.raises(SemreidError, match="int8 does not agree with the model"):
        export_model(run_folder, tmp_path / "small.onnx", int8=Int8(figure_data))
    with pytest.raises(SemreidError, match=r"int8 loses \d+\.\d\d points of mAP on .*the bound is 0\.5") as caught:
        export_model(run_folder, tmp_path / "small.onnx", int8=Int8(figure_data, **anything))
    assert "--max-map-loss" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cosine", [0.93, float("nan")])
def test_a_file_that_embeds_otherwise_is_refused_and_nothing_kept(
    run_folder, tmp_path: Path, monkeypatch, cosine: float
) -> None:
    monkeypatch.setattr(export, "least_cosine", lambda network, exported, images: cosine)
    with pytest.raises(SemreidError, match=f"cosine {cosine}"):
        export_model(run_folder, tmp_path / "person.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_makes_no_sense_is_refused_before_the_work(run_folder, figure_data, tmp_path: Path) -> None:
    onnx_file, no_map = {"out": tmp_path / "a.onnx"}, replace(figure_data.protocol, has_map=False)
    for arguments, message in [
        ({"out": tmp_path / "a.pt"}, r"ends in \.onnx"),
        ({**onnx_file, "kind": "openvino"}, r"ends in \.xml"),
        ({"out": Path()}, "is a folder"),
        ({"out": tmp_path / "a.xml", "kind": "openvino", "float_input": True}, "only for fp32 ONNX"),
        ({**onnx_file, "float_input": True, "int8": Int8(figure_data)}, "only for fp32 ONNX"),
        ({**onnx_file, "int8": Int8(replace(figure_data, train=()))}, "no training images"),
        ({**onnx_file, "int8": Int8(replace(figure_data, protocol=no_map))}, "no mAP"),
        ({"out": run_folder / "card.json" / "a.onnx"}, "cannot write"),
        ({**onnx_file, "path": tmp_path / "none"}, "no model card"),
    ]:
        with pytest.raises(SemreidError, match=message):
            export_model(**{"path": run_folder, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_belong_to_no_description_are_not_written_over(run_folder, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(SemreidError, match=r"a\.bin is there already, and belongs to no .*a\.xml"):
        export_model(run_folder, tmp_path / "a.xml", kind="openvino")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.bin", "mine")]


def test_calibration_goes_with_the_file_but_not_into_int8(run_folder: Path, tmp_path: Path) -> None:
    calibrated = shutil.copytree(run_folder, tmp_path / "run")
    made, _ = calibrate(*crowd(people=120, noise=0.8, seed=3))
    save_calibration(calibrated, made)
    export_model(calibrated, tmp_path / "person.onnx")
    assert read_calibration(tmp_path / "person.onnx") == made
    loaded = load_embedder(tmp_path / "person.onnx")
    assert ExportedModel(replace(loaded.metadata, precision="int8"), loaded.step).calibration is None


@pytest.mark.parametrize("room", [500, 100_000])
def test_a_full_disk_is_one_clear_error(openvino_file: Exported, tmp_path: Path, room: int) -> None:
    """Full at once, or once the description is written and the weights are not."""
    graph = openvino.Core().read_model(openvino_file.files[0])

    class Again:
        SerializeToString = staticmethod(lambda: b"")

    with pytest.MonkeyPatch.context() as patch, full_disk(room):
        patch.setattr(openvino.Core, "read_model", lambda *_: graph)
        with pytest.raises(SemreidError, match="cannot write .*: (the disk is full, or fails|File too large)"):
            export.save(Again(), openvino_file.metadata, tmp_path / "a.xml", "openvino")
    assert not any(tmp_path.iterdir())
