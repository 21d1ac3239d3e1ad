import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.models.card import Card, learned_from, read_card, save_model, told_once
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


def lineage(steps: int) -> dict[str, Any]:
    """What a model came from that is the mean of itself and of runs that went on from it, step after step."""
    before: dict[str, Any] = {"sha256": "0", "dataset": "people", "pretrained": "scratch", "sketch": ["a"]}
    for step in range(steps):
        on = {"sha256": f"{step}", "dataset": "people", "pretrained": "mean", "before": {"pretrained": before}}
        start = {"pretrained": before, "/runs/mean": before, "/runs/a": on, "/runs/b": {**on, "sha256": f"{step}b"}}
        before = {"dataset": "the mean of 3 runs", "pretrained": "mean", "sketch": ["a"], "before": start}
    return before


def test_a_card_tells_each_ancestor_once() -> None:
    told, tree = told_once(lineage(4)), lineage(4)
    assert learned_from(told).keys() == learned_from(tree).keys()
    assert told_once(told) == told
    assert told["before"].keys() >= {"pretrained", "/runs/mean", "/runs/a", "/runs/b"}
    texts = [json.dumps(other, sort_keys=True) for other in told["before"].values()]
    assert not any("before" in text or "sketch" in text for text in texts)
    sizes = [len(json.dumps(told_once(lineage(steps)))) for steps in (2, 4, 6, 8)]
    assert np.ptp(np.diff(sizes)) < 100  # bytes: as much more with every step, where the tree grows by their product
    assert len(json.dumps(tree)) > 10 * sizes[1]


def test_what_is_told_of_a_run_is_told_by_those_that_came_from_it() -> None:
    step = lineage(2)
    again = {"dataset": "mine", "pretrained": "x", "before": {"pretrained": told_once(step)}}
    old = {"dataset": "mine", "pretrained": "x", "before": {"pretrained": step}}  # as cards told it before
    assert told_once(again) == told_once(old)
