import threading
from pathlib import Path

import pytest

from semreid.errors import SemreidError
from semreid.models.card import CARD
from semreid.training.record import ADAPT, CHECKPOINT, RECIPE, RunFolder

ANOTHER = "choose another folder for --out"


@pytest.mark.parametrize(
    ("there", "resume", "recipe", "fix"),
    [
        ([CHECKPOINT], False, RECIPE, f"go on with its training (--resume), or {ANOTHER}"),
        ([CHECKPOINT, CARD, ADAPT], False, ADAPT, f"go on with its training (--resume), or {ANOTHER}"),
        ([CARD], False, RECIPE, ANOTHER),  # a mean
        ([CHECKPOINT, CARD, RECIPE], None, RECIPE, ANOTHER),  # whoever makes a mean
        ([CHECKPOINT, CARD, RECIPE], False, ADAPT, ANOTHER),
    ],
)
def test_resume_is_offered_only_where_it_is_possible(
    tmp_path: Path, there: list[str], resume: bool | None, recipe: str, fix: str
) -> None:
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(SemreidError, match="already holds a run") as caught:
        RunFolder(tmp_path, resume=resume, recipe=recipe)
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("own", "other", "command"), [(RECIPE, ADAPT, "semreid adapt"), (ADAPT, RECIPE, "semreid train")]
)
def test_a_run_of_another_command_is_not_gone_on_with(tmp_path: Path, own: str, other: str, command: str) -> None:
    for name in (CHECKPOINT, other):
        (tmp_path / name).touch()
    with pytest.raises(SemreidError, match=f"holds a run of `{command}`") as caught:
        RunFolder(tmp_path, resume=True, recipe=own)
    assert caught.value.fix == f"go on with `{command} --resume`, or {ANOTHER}"
    (tmp_path / own).touch()  # its own run, in which the user keeps a recipe of the other kind
    RunFolder(tmp_path, resume=True, recipe=own)


def test_a_folder_that_is_left_writes_no_more(tmp_path: Path) -> None:
    before = threading.active_count()
    for name in ("one", "another"):
        folder = RunFolder(tmp_path / name, resume=None)
        with folder.claimed():
            folder.record("seed: 0\n", [{"epoch": 0, "total": 1.0}])
            assert threading.active_count() > before
        assert threading.active_count() == before
        assert len([*(tmp_path / name).glob("events.out.*")]) == 1
