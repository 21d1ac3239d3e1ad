"""Runs become models that ship."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks._packing import halved, pack, starts, without_paths
from semreid.errors import SemreidError
from semreid.models.card import learned_from
from semreid.models.loading import load_model
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
