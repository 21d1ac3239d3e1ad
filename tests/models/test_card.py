import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.models.card import Card, read_card, save_model
from semreid.models.loading import load_model
from semreid.models.zoo import create_model
from tests.conftest import draw_figure

ARGUMENTS = {"name": "baseline", "num_ids": 3, "trunk": "resnet18", "width": 0.25, "size": [64, 32], "pool": "gem"}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model(**{**ARGUMENTS, "size": (64, 32)})
    card = Card(model=ARGUMENTS, trained_on={"dataset": "figures"}, terms="free", seed=0)
    save_model(tmp_path / "run", model, card)
    return tmp_path / "run"


def test_loads_what_was_saved(saved: Path) -> None:
    torch.manual_seed(0)
    expected = create_model(**{**ARGUMENTS, "size": (64, 32)}).embed([draw_figure(1, 1, 0)])
    for place in (saved, saved / "card.json", str(saved)):
        model = load_model(place)
        assert not model.training
        np.testing.assert_allclose(model.embed([draw_figure(1, 1, 0)]), expected, atol=1e-6)


def test_card_says_what_made_it(saved: Path) -> None:
    card = read_card(saved)
    assert card.versions["torch"] == torch.__version__
    assert len(card.sha256) == 64
    assert card.terms == "free"


def test_a_card_is_written_as_it_was_read(saved: Path) -> None:
    edit(saved, model={"pool": "gem", **ARGUMENTS}, trained_on={"of": 1, "identities": 2, "dataset": "figures"})
    before = json.loads((saved / "card.json").read_text())
    assert json.dumps(read_card(saved).to_json()) == json.dumps(before)


def test_zoo_name_gives_an_untrained_model() -> None:
    assert load_model("baseline").dim == 2048


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="no model card at .*nothing") as caught:
        load_model(tmp_path / "nothing")
    assert "baseline" in caught.value.fix


def edit(saved: Path, **changes: object) -> None:
    content = json.loads((saved / "card.json").read_text())
    (saved / "card.json").write_text(json.dumps(content | changes))


def test_card_of_another_version(saved: Path) -> None:
    edit(saved, format=99, versions={"semreid": "9.0"})
    with pytest.raises(SemreidError, match="has format 99; this version of semreid .* reads 1") as caught:
        load_model(saved)
    assert "9.0" in caught.value.fix


def test_damaged_card(saved: Path) -> None:
    edit(saved, surprise=1)
    with pytest.raises(SemreidError, match="surprise"):
        load_model(saved)
    (saved / "card.json").write_text("{")
    with pytest.raises(SemreidError, match="card.json is damaged"):
        load_model(saved)


def test_weights_of_another_model(saved: Path) -> None:
    weights = saved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SemreidError, match="not the file that its card describes"):
        load_model(saved)
    weights.unlink()
    with pytest.raises(SemreidError, match="model.safetensors is missing"):
        load_model(saved)
