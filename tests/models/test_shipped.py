"""Models that ship: listed, loaded by name everywhere, and refused where they are missing or damaged."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.models import shipped
from semreid.models.card import Card, learned_from, read_card, save_calibration, save_model, shipped_cards
from semreid.models.loading import load_embedder, load_model, start_from
from semreid.models.zoo import create_model
from semreid.training.provenance import card_of
from semreid.training.recipe import parse_recipe
from semreid.weights import read_tensors
from tests.conftest import draw_figure, write_run

pytestmark = pytest.mark.usefixtures("stand_ins")
CROPS = [draw_figure(1, 1, 0), draw_figure(2, 1, 0)]


@pytest.fixture
def copied(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models to be spoilt."""
    folder = Path(shutil.copytree(packed, tmp_path / "shipped"))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


def test_no_name_means_people_s_and_halving_moves_embeddings_little(packed: Path) -> None:
    model = load_model()
    assert model.fingerprint == load_model("people-s").fingerprint == load_embedder().fingerprint
    assert model.fingerprint == load_model(packed / "people-s.json").fingerprint
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    run = packed.parent.glob("runs*/people-s")
    whole = load_model(next(iter(run)))
    assert np.abs(model.embed(CROPS) - whole.embed(CROPS)).max() < 2e-3


def test_loading_leaves_nothing_to_chance() -> None:
    before = torch.get_rng_state()
    one, other = (load_model().state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_files_hold_what_inference_needs_and_the_parser_only_once(packed: Path) -> None:
    kept = read_tensors(packed / "people-s.safetensors")
    assert not any(name.startswith(("foreground.", "heads.identity.classifier")) for name in kept)
    assert {tensor.dtype for tensor in kept.values() if tensor.ndim > 1} == {torch.float16}
    parser, model = load_model("people-parser"), load_model("people-s")
    assert model.foreground is not None
    ours = model.foreground.trunk.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in parser.trunk.state_dict().items())


def test_card_tells_how_it_was_made_and_who_is_inside() -> None:
    card, info = read_card("people-s"), load_model("people-s").info()
    facts = card.shipped
    assert facts is not None
    assert (facts.name, facts.commit) == ("people-s", "0123abc")
    assert facts.commands == ("semreid train people-s.yaml",)
    assert facts.fingerprint == load_model("people-s").fingerprint
    assert (facts.parameters, facts.macs) == (info["parameters_without_classifiers"], info["macs"])
    assert facts.licence == {"code": "Apache-2.0", "weights": "Apache-2.0", "start": "random weights"}
    assert facts.parser == read_card("people-parser").sha256
    assert card.seed == 7


def test_a_run_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people-s").mkdir()  # no run
    assert load_model("people-s").dim == load_model().dim
    write_run(tmp_path / "people-s", {"name": "baseline", "trunk": "resnet18", "width": 0.25, "size": (64, 32)})
    assert load_model("people-s").dim == 128


def test_lacking_models_are_named_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "nothing")
    with pytest.raises(SemreidError, match="lacks the model people-s.*no model at all") as caught:
        load_model()
    assert "install semreid again" in caught.value.fix
    assert run("models").code == 1
    assert {model["present"] for model in json.loads(run("models", "--json").out)["models"]} == {False}


def test_a_model_lacking_alone(copied: Path, run) -> None:
    (copied / "people-m.json").unlink()
    with pytest.raises(SemreidError, match=r"lacks the model people-m.*it has people-s, people-parser") as caught:
        load_model("people-m")
    assert caught.value.fix.startswith("name one that is here")
    done = run("models")
    assert done.code == 0
    assert "people-m: not in this installation" in done.out


@pytest.mark.parametrize("name", ["people-s", "people-parser"])
def test_half_a_file_is_found_by_its_digest(copied: Path, run, name: str) -> None:
    file = copied / f"{name}.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SemreidError, match=f"{name}.safetensors is not the file that its card describes") as caught:
        load_model("people-s")  # which needs the parser, too
    assert "install semreid again" in caught.value.fix
    for listed in (run("models"), run("models", "--json")):
        assert listed.code == 1
        assert f"{name}.safetensors is not the file that its card describes" in listed.err
    file.unlink()
    with pytest.raises(SemreidError, match=f"{name}.safetensors is missing"):
        load_model("people-s")


@pytest.mark.parametrize("content", ["{", '{"format": 1}'])
def test_a_damaged_card_has_the_way_out_of_the_others(copied: Path, run, content: str) -> None:
    (copied / "people-s.json").write_text(content)
    with pytest.raises(SemreidError, match=r"people-s\.json") as caught:
        load_model()
    assert caught.value.fix.startswith("install semreid again")
    assert "install semreid again" in run("models").err


def test_cards_of_newer_versions(copied: Path) -> None:
    file = copied / "people-s.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2}))
    with pytest.raises(SemreidError, match=r"people-s.json has format 2; this version"):
        load_model()


@pytest.mark.parametrize(
    ("wrong", "right"), [("people-l", "people-"), ("peple-s", "people-s"), ("basline", "baseline")]
)
def test_slips_are_noticed(wrong: str, right: str) -> None:
    with pytest.raises(SemreidError, match=f"no model card at {wrong}") as caught:
        load_model(wrong)
    assert f"did you mean {right}" in caught.value.fix


def test_galleries_of_another_of_them_name_it(tmp_path: Path, run, figures: Path) -> None:
    made = load_model("people-m")
    with Gallery.open(tmp_path / "g.parquet", dim=made.dim, fingerprint=made.fingerprint) as gallery:
        gallery.add(made.embed(CROPS), [Entry(id="a"), Entry(id="b")])
    query = next((figures / "query").iterdir())
    refused = run("gallery", "search", query, "--gallery", tmp_path / "g.parquet")
    assert refused.code == 1
    assert "holds vectors of model people-m; these are of model people-s" in refused.err
    assert "way out: it was made by people-m: --model people-m" in refused.err
    assert run("gallery", "search", query, "--gallery", tmp_path / "g.parquet", "--model", "people-m").code == 0
    assert "model people-m" in run("gallery", "info", "--gallery", tmp_path / "g.parquet").out


def test_commands_need_no_model(run, figures: Path, tmp_path: Path, stand_ins: Path) -> None:
    a, b = sorted((figures / "query").iterdir())[:2]
    verdict = json.loads(run("verify", a, b, "--json").out)
    assert verdict == json.loads(run("verify", "people-s", a, b, "--json").out)
    assert verdict["basis"].startswith("calibrated on 60 synthetic people that the model did not learn")
    assert "60 synthetic people" in run("verify", a, b).out
    assert run("embed", figures / "query", "--out", tmp_path / "f.parquet").code == 0
    assert run("gallery", "add", tmp_path / "f.parquet", "--gallery", tmp_path / "g.parquet").code == 0
    explained = run("explain", a, "--gallery", tmp_path / "g.parquet", "--out", tmp_path / "e", "--top", "1")
    assert explained.code == 0
    assert re.search(r"before looking .* %, one in \d+; calibrated on 60 synthetic people", explained.err)
    assert "60 synthetic people" in (tmp_path / "e" / "explanation.html").read_text()


def test_more_commands_need_no_model(run, figures: Path) -> None:
    assert json.loads(run("evaluate", "--data", f"people:{figures}", "--json").out)["model"] == "people-s"
    assert json.loads(run("info").out)["card"]["shipped"]["name"] == "people-s"


def test_labels_come_from_the_models_that_ship(run, figures: Path, tmp_path: Path, copied: Path) -> None:
    done = run("label", "--data", f"people:{figures}", "--out", tmp_path / "labels", "--split", "train")
    assert done.code == 0, done.err
    assert "labelling by people-parser and people-painter" in done.err
    assert {"masks", "textures"} <= {p.name for p in (tmp_path / "labels").iterdir()}
    (copied / "people-painter.json").unlink()
    less = run("label", "--data", f"people:{figures}", "--out", tmp_path / "masks", "--split", "train")
    assert "there is no people-painter in this installation" in less.err
    (copied / "people-parser.json").unlink()
    assert "lacks the model people-parser" in run("label", "--data", f"people:{figures}", "--out", tmp_path / "x").err


def test_their_cards_stay_as_they_are(run, figures: Path, tmp_path: Path, stand_ins: Path) -> None:
    refused = run("calibrate", "--data", f"people:{figures}")
    assert refused.code == 1
    assert "its card stays as it is" in refused.err
    with pytest.raises(SemreidError, match="its card stays as it is"):
        save_calibration("people-s", read_card("people-s").calibration)  # type: ignore[arg-type]


def test_training_starts_from_them(figure_data) -> None:
    card = read_card("people-s")
    model = create_model(**{**card.model, "num_ids": 5, "size": tuple(card.model["size"])})
    classifier = model.state_dict()["heads.identity.classifier.weight"].clone()
    assert start_from(model, "people-s").startswith("from people-s: trunk")
    assert torch.equal(model.trunk.state_dict()["conv1.weight"], load_model().trunk.state_dict()["conv1.weight"])
    assert torch.equal(model.state_dict()["heads.identity.classifier.weight"], classifier)
    recipe = parse_recipe({"model": {"weights": "people-s", "foreground": "people-parser"}})
    origin = card_of(recipe, {}, {"sketch": []}, [figure_data]).trained_on["before"]
    assert origin["pretrained"]["images"] == 12
    assert origin["foreground"]["dataset"] == "people"


def test_models_lists_all_that_is_known(run, stand_ins: Path) -> None:
    listed = json.loads(run("models", "--json").out)
    assert listed["default"] == "people-s"
    small, *_, painter = listed["models"]
    assert [m["name"] for m in listed["models"]] == ["people-s", "people-m", "people-parser", "people-painter"]
    assert small["trained_on"] == "12 pictures of 3 people (synthetic people)"
    assert small["bytes"] == (stand_ins / "people-s.safetensors").stat().st_size
    assert small["calibrated_on"].startswith("calibrated on 60 synthetic people")
    assert painter["calibrated_on"] is None
    done = run("models")
    assert done.code == 0
    assert "began with random weights" in done.out
    assert read_card("people-m").sha256 in done.out.replace("\n", "")


def test_runs_are_saved_as_before(tmp_path: Path) -> None:
    model = create_model("baseline", 2, trunk="resnet18", width=0.125, size=(64, 32))
    arguments = {"name": "baseline", "num_ids": 2, "trunk": "resnet18", "width": 0.125, "size": [64, 32]}
    save_model(tmp_path / "run", model, Card(model=arguments, trained_on={}, terms="", seed=0))
    assert "shipped" not in json.loads((tmp_path / "run" / "card.json").read_text())


def test_what_this_checkout_ships_is_whole_small_and_of_synthetic_people_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", Path(shipped.__file__).parents[1] / "shipped")
    cards = shipped_cards()
    if not cards:
        pytest.skip("no model ships with this checkout")
    assert sum(file.stat().st_size for file in shipped.folder().iterdir()) <= 40e6
    for name, card in cards.items():
        assert card.shipped is not None
        assert load_model(name).fingerprint == card.shipped.fingerprint
        assert {each["dataset"] for each in learned_from(card.trained_on).values()} == {"people"}
        if name in shipped.EMBEDDERS:
            assert card.calibration is not None
            assert card.calibration.fingerprint == card.shipped.fingerprint
