"""Runs become models that ship."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks._packing import halved, pack, starts, without_paths
from semreid.errors import SemreidError
from semreid.models.card import Card, learned_from, save_model, told_once
from semreid.models.loading import load_model
from semreid.training.average import average_runs
from tests.conftest import write_run


def test_another_parser_is_not_taken_for_the_one_it_learned_with(packed: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(packed, tmp_path / "shipped"))
    write_run(copied / "other", {"name": "parser", "trunk": "resnet18", "width": 0.125, "size": (64, 32)})
    run = next(iter(packed.parent.glob("runs*/people-s")))
    pack(copied / "other", "people-parser", copied)
    with pytest.raises(SemreidError, match="by another parser than"):
        pack(run, "people-m", copied)
    with pytest.raises(SemreidError, match=r"people-parser.safetensors is not the file"):
        load_model(copied / "people-s.json")


def test_what_does_not_fit_is_not_packed(tmp_path: Path, packed: Path) -> None:
    write_run(tmp_path / "run", {"name": "baseline", "trunk": "resnet18", "width": 0.125, "size": (64, 32)})
    with pytest.raises(SemreidError, match="people-parser is for part masks"):
        pack(tmp_path / "run", "people-parser", tmp_path)
    with pytest.raises(SemreidError, match="no model ships as 'people-x'"):
        pack(tmp_path / "run", "people-x", tmp_path)
    with pytest.raises(SemreidError, match="there is no .*people-parser.json"):
        pack(next(iter(packed.parent.glob("runs*/people-s"))), "people-s", tmp_path)
    with pytest.raises(SemreidError, match="'w' does not fit"):
        halved("w", torch.full((2, 2), 7e4))


def test_origins_are_told_without_paths() -> None:
    first = {"sha256": "a", "dataset": "people", "pretrained": "scratch", "images": 1}
    mean = {"dataset": "the mean of 2 runs", "before": {"/a/b/one": first, "/a/b/two": {**first, "sha256": "b"}}}
    last = {"sha256": "c", "dataset": "people", "pretrained": "/a/b/mean", "before": {"pretrained": mean}}
    assert starts(last) == {"scratch"}
    assert list(learned_from(last)) == ["a", "b", "c"]
    assert "/a/b" not in json.dumps(without_paths(last))
    assert starts({"pretrained": "/w/imagenet.pth"}) == {"/w/imagenet.pth"}


def test_what_goes_on_from_a_packed_model_has_a_mean_with_it(tmp_path: Path) -> None:
    people = {"sha256": "a", "dataset": "people", "pretrained": "scratch"}
    parser = {"dataset": "the mean of 2 runs", "pretrained": "scratch", "before": {"/a/one": people, "/a/two": people}}
    start = {**people, "foreground": "/a/keen", "before": {"foreground": parser}}
    roles = {"pretrained": "/a/start", "foreground": "/a/keen"}
    packed = without_paths({**people, **roles, "before": {"pretrained": start, "foreground": parser}})
    on = {"pretrained": told_once(packed), "foreground": told_once(without_paths(parser))}
    arguments = {"name": "baseline", "num_ids": 2, "trunk": "resnet18", "width": 0.125, "size": [64, 32]}
    for name, facts in (("packed", packed), ("on", {"sha256": "b", "dataset": "people", **roles, "before": on})):
        card = Card(model=arguments, trained_on=facts, terms="free", seed=0)
        save_model(tmp_path / name, card.build(), card)
    mean = average_runs([tmp_path / "packed", tmp_path / "on"], tmp_path / "mean")
    assert list(learned_from(mean.trained_on)) == ["a", "b"]
