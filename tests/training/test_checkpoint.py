from pathlib import Path

import pytest

from semreid.errors import SemreidError
from semreid.models.card import CARD
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.recipe import Recipe, dump_recipe

TEXT = dump_recipe(Recipe())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", {"recipe": TEXT, "epoch": 3})
    assert load_checkpoint(tmp_path / "checkpoint.pt", Recipe())["epoch"] == 3


def test_without_a_checkpoint_the_way_out_leads_out(tmp_path: Path) -> None:
    for way_out in ("begin without --resume", "choose another folder for --out"):
        with pytest.raises(SemreidError, match="nothing to resume: no checkpoint at") as caught:
            load_checkpoint(tmp_path / "checkpoint.pt", Recipe())
        assert caught.value.fix == way_out
        (tmp_path / CARD).touch()  # a run without a checkpoint, such as a mean: nobody may begin here


def test_a_damaged_checkpoint_is_to_be_copied_and_not_saved_as_weights(tmp_path: Path) -> None:
    for content in (b"garbage", b""):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(SemreidError, match="damaged") as caught:
            load_checkpoint(tmp_path / "checkpoint.pt", Recipe())
        assert caught.value.fix == "copy the checkpoint again, or begin anew in another folder"
