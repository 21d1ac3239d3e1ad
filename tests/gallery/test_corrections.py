"""What people say of the crops of a gallery: in every kind of gallery, undoable, and never half done."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery
from semreid.gallery import corrections as module
from semreid.gallery.corrections import CorrectionError, Corrections
from semreid.gallery.roster import alike, crops_of, next_group, roster
from semreid.gallery.said import said_of
from semreid.gallery.store import ChangedError, NoSuchRowError
from tests.conftest import full_disk
from tests.gallery.helpers import DIM, MODEL

SIZES = {"group-1": 5, "group-2": 3, "group-3": 2, "anna": 2}
"""How many crops each has; those of groups were named by a machine."""


def fill(gallery: Gallery) -> None:
    rows = [
        Entry(f"{who}/{i}", pid=who, camid=i % 2, tags=("grouped", "door") if who.startswith("group") else ("vip",))
        for who, count in SIZES.items()
        for i in range(count)
    ]
    rows += [Entry("nobody/0"), Entry("nobody/1")]
    centres = {who: np.eye(DIM)[i] for i, who in enumerate(SIZES)}
    noise = np.random.default_rng(0).normal(size=(len(rows), DIM)) / 20
    gallery.upsert(np.array([centres.get(row.pid or "", np.eye(DIM)[7]) for row in rows]) + noise, rows)


@pytest.fixture
def said(gallery: Gallery, tmp_path: Path) -> Corrections:
    fill(gallery)
    return Corrections(gallery, tmp_path / "up" / "steps.json")


@pytest.fixture
def quick(tmp_path: Path) -> Corrections:
    """The same in memory alone."""
    gallery = Gallery.open("memory:", dim=DIM, fingerprint=MODEL)
    fill(gallery)
    return Corrections(gallery, tmp_path / "up" / "steps.json")


def rows(gallery: Gallery) -> dict[str, Entry]:
    return {row.id: row for batch, _ in gallery.scan() for row in batch}


def words(gallery: Gallery) -> dict[str, tuple[str | None, bool]]:
    """Who each row is, and whether a person said so."""
    return {id_: (row.pid, "grouped" not in row.tags) for id_, row in rows(gallery).items()}


def of(who: str, count: int | None = None) -> list[str]:
    return [f"{who}/{i}" for i in range(SIZES[who] if count is None else count)]


def test_every_step_changes_its_rows_alone_and_is_taken_back_whole(said: Corrections) -> None:
    gallery = said.gallery
    first = rows(gallery)
    vectors = gallery.vectors(sorted(first))
    merged = said.merge(["group-1", "group-2"])
    assert (merged.number, merged.what, merged.person) == (1, "group-1 and group-2 are one person, group-1", "group-1")
    assert {words(gallery)[id_] for id_ in of("group-1") + of("group-2")} == {("group-1", True)}
    assert rows(gallery)["group-1/0"].tags == ("door",)
    named = said.name("group-1", "bert")
    assert {words(gallery)[id_] for id_ in of("group-1") + of("group-2")} == {("bert", True)}
    split = said.split("group-3", ["group-3/1"])
    assert split.what == "1 crop of group-3 shows group-4"
    assert words(gallery)["group-3/1"] == ("group-4", True)
    assert words(gallery)["group-3/0"] == ("group-3", False)
    left = said.leave_out(["anna/0", "anna/1"], "anna")
    assert left.what == "2 crops of anna show no person"
    assert rows(gallery)["anna/0"] == Entry("anna/0", camid=0, tags=("not-a-person", "vip"))
    np.testing.assert_array_equal(gallery.vectors(sorted(first)), vectors)
    found = roster(gallery)
    assert [person.name for person in found.groups] == ["group-3"]
    assert [(person.name, person.crops) for person in found.people] == [("bert", 8), ("group-4", 1)]
    assert (found.nobody, found.not_people) == (2, 2)
    for step in (left, split, named, merged):
        assert said.undo(step.number) == step._replace(undone=True)
    assert rows(gallery) == first


def test_steps_outlive_the_process(quick: Corrections) -> None:
    quick.name("group-1", "bert")
    again = Corrections(quick.gallery, quick._file)
    assert again.steps == quick.steps
    assert again.undo(1).undone
    assert Corrections(quick.gallery, quick._file).steps[0].undone
    assert again.name("group-1", "carl").number == 2


def test_undoing_twice_or_what_was_said_of_since_is_refused(quick: Corrections) -> None:
    quick.name("group-1", "bert")
    quick.undo(1)
    with pytest.raises(ChangedError, match="step 1 was undone already"):
        quick.undo(1)
    with pytest.raises(NoSuchRowError, match="no step 9 to undo"):
        quick.undo(9)
    quick.merge(["group-1", "group-2"])
    quick.name("group-1", "bert")
    before = rows(quick.gallery)
    with pytest.raises(ChangedError, match="since") as caught:
        quick.undo(2)
    assert "later step first" in caught.value.fix
    assert rows(quick.gallery) == before
    quick.gallery.remove(["group-1/0"])
    assert quick.undo(3).undone  # what is gone is passed over
    assert quick.undo(2).undone
    assert words(quick.gallery)["group-2/0"] == ("group-2", False)


def numbered_anew(gallery: Gallery, names: dict[str, str]) -> None:
    """As a new grouping does: the same groups under other numbers."""
    before = [row for row in rows(gallery).values() if "grouped" in row.tags]
    gallery.exchange(before, [replace(row, pid=names.get(row.pid or "", row.pid)) for row in before])


@pytest.mark.parametrize(
    "say",
    [
        lambda said: said.name("group-1", "cy"),
        lambda said: said.leave_out(of("group-1")[:2], "group-1"),
        lambda said: said.merge(["group-1", "group-3"], "cy"),
    ],
)
def test_undoing_joins_nobody_with_a_group_that_has_got_the_number_since(said: Corrections, say) -> None:
    step = say(said)
    numbered_anew(said.gallery, {"group-1": "group-7", "group-2": "group-1"})
    before = rows(said.gallery)
    with pytest.raises(ChangedError, match="gives crops back to group-1, and others are called so by now") as caught:
        said.undo(step.number)
    assert "another name" in caught.value.fix
    assert rows(said.gallery) == before
    assert not Corrections(said.gallery, said._file).steps[-1].undone
    said.name("group-1", "dan")
    assert said.undo(step.number).undone
    assert words(said.gallery)["group-1/0"] == ("group-1", False)
    assert words(said.gallery)["group-2/0"] == ("dan", True)


def test_undoing_gives_crops_back_to_who_has_kept_others(quick: Corrections) -> None:
    quick.split("anna", ["anna/1"], "bert")
    quick.leave_out(["group-1/4"], "group-1")
    again = Corrections(quick.gallery, quick._file)
    again.merge(["anna", "group-2"])
    assert [again.undo(number).undone for number in (1, 2, 3)] == [True] * 3
    assert words(quick.gallery)["anna/1"] == ("anna", True)
    again.split("anna", ["anna/1"], "bert")
    again.name("anna", "carl")
    assert [again.undo(number).undone for number in (4, 5)] == [True] * 2  # in any order
    assert {words(quick.gallery)[id_] for id_ in of("anna")} == {("anna", True)}


@pytest.mark.parametrize("name", ["0", "00", "-1"])
def test_nobody_gets_a_name_that_means_nobody(quick: Corrections, name: str) -> None:
    before = rows(quick.gallery)
    for say in (
        lambda: quick.name("anna", name),
        lambda: quick.merge(["anna", "group-1"], name),
        lambda: quick.split("anna", ["anna/0"], name),
    ):
        with pytest.raises(CorrectionError, match=f"pid '{name}' names no person"):
            say()
    assert rows(quick.gallery) == before


def test_steps_of_older_versions_are_read(quick: Corrections) -> None:
    quick.name("group-1", "bert")
    (step,) = json.loads(quick._file.read_text())
    quick._file.write_text(json.dumps([step[:5]]))
    assert Corrections(quick.gallery, quick._file).undo(1).undone


def test_two_people_edit_at_once(quick: Corrections) -> None:
    """The second sees what was there before the first spoke."""
    states = {person.name: person.state for person in roster(quick.gallery).groups}
    quick.merge(["group-1", "group-2"], seen=list(states.values()))
    before = rows(quick.gallery)
    for late in (
        lambda: quick.name("group-1", "bert", seen=[states["group-1"]]),
        lambda: quick.split("group-1", ["group-1/0"], seen=[states["group-1"]]),
        lambda: quick.merge(["group-1", "group-3"], seen=list(states.values())),
        lambda: quick.split("group-3", ["group-1/0"]),
        lambda: quick.leave_out(["group-2/0"], "group-2"),
    ):
        with pytest.raises(ChangedError):
            late()
    with pytest.raises(NoSuchRowError, match="no person 'group-2'"):
        quick.name("group-2", "carl", seen=[states["group-2"]])
    assert rows(quick.gallery) == before
    assert len(quick.steps) == 1
    assert quick.merge(["group-1", "group-3"]).number == 2  # who has looked again may


def test_rows_that_change_between_look_and_write_stop_the_whole_step(
    quick: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = quick.gallery.exchange

    def late(before, after, **options):
        monkeypatch.undo()
        exchange(before[:1], [replace(before[0], pid="other")])
        return exchange(before, after, **options)

    monkeypatch.setattr(quick.gallery, "exchange", late)
    with pytest.raises(ChangedError, match="1 of 5 crops are no longer as they were"):
        quick.name("group-1", "bert")
    assert quick.steps == ()
    assert [words(quick.gallery)[id_][0] for id_ in of("group-1")] == ["other", *["group-1"] * 4]


@pytest.mark.parametrize(
    ("say", "kind", "message"),
    [
        (lambda s: s.merge(["group-1"]), CorrectionError, "one person cannot be merged"),
        (lambda s: s.merge(["group-1", "group-1"]), CorrectionError, "one person cannot be merged"),
        (lambda s: s.merge(["group-1", "nobody"]), NoSuchRowError, "no person 'nobody'"),
        (lambda s: s.merge(["group-1", "group-2"], "anna"), CorrectionError, "there is a person anna already"),
        (lambda s: s.name("group-9", "bert"), NoSuchRowError, "no person 'group-9'"),
        (lambda s: s.name("group-1", "anna"), CorrectionError, "there is a person anna already"),
        (lambda s: s.name("anna", "anna"), CorrectionError, "said already"),
        (lambda s: s.name("group-1", "x" * 257), SemreidError, "longer than 256"),
        (lambda s: s.split("group-1", []), CorrectionError, "no crop is chosen"),
        (lambda s: s.split("group-1", of("group-1")), CorrectionError, "these are all crops of group-1"),
        (lambda s: s.split("group-1", ["group-2/0"]), ChangedError, "1 of the 1 crops are not of group-1"),
        (lambda s: s.split(None, ["group-2/0"]), ChangedError, "not of nobody known"),
        (lambda s: s.split("group-1", ["gone"]), NoSuchRowError, "1 of the 1 crops are not in the gallery"),
        (lambda s: s.leave_out([]), CorrectionError, "no crop is chosen"),
    ],
)
def test_what_makes_no_sense_changes_nothing(quick: Corrections, say, kind, message: str) -> None:
    before = rows(quick.gallery)
    with pytest.raises(kind, match=message):
        say(quick)
    assert rows(quick.gallery) == before
    assert quick.steps == ()


def test_a_merged_person_has_the_name_that_somebody_gave(quick: Corrections) -> None:
    assert quick.merge(["group-1", "anna"]).person == "anna"
    assert quick.merge(["group-2", "group-3"], "bert").person == "bert"
    assert quick.merge(["bert", "anna"]).person == "bert"


def test_who_was_split_off_stays_apart_whatever_they_are_called(quick: Corrections) -> None:
    gallery = quick.gallery
    quick.split("group-1", ["group-1/0", "group-1/1"])
    quick.split("group-1", ["group-1/2"], "carl")
    assert [len(row.tags) for row in rows(gallery).values() if row.pid == "group-1"] == [3, 3]  # one mark is enough
    quick.name("group-4", "bert")
    everybody = list(rows(gallery).values())
    renamed = [replace(row, pid="group-7") if row.pid == "group-1" else row for row in everybody]  # by a machine
    said = said_of(renamed)
    assert said is not None
    at = {row.id: i for i, row in enumerate(renamed)}
    pairs = {(renamed[a].id, int(p)) for a, p in said.apart.tolist()}
    bert, carl = (int(said.people[at[id_]]) for id_ in ("group-1/0", "group-1/2"))
    assert pairs == {(f"group-1/{i}", person) for i in (3, 4) for person in (bert, carl)}
    quick.merge(["group-1", "bert"])  # somebody thinks again: the word that was said last counts
    assert {words(gallery)[f"group-1/{i}"] for i in (0, 1, 3, 4)} == {("bert", True)}
    later = said_of(list(rows(gallery).values()))
    assert later is not None
    assert later.apart.tolist() == []


def test_crops_are_given_to_somebody_who_is_there_or_confirmed_alone(quick: Corrections) -> None:
    quick.split("group-1", ["group-1/0"], "anna")
    quick.split(None, ["nobody/0"], "anna")
    quick.split("group-2", ["group-2/0"], "group-2")
    found = words(quick.gallery)
    assert found["group-1/0"] == found["nobody/0"] == ("anna", True)
    assert (found["group-2/0"], found["group-2/1"]) == (("group-2", True), ("group-2", False))
    assert not any("split:" in tag for id_ in of("group-2") for tag in rows(quick.gallery)[id_].tags)
    person = next(person for person in roster(quick.gallery).people if person.name == "group-2")
    assert (person.crops, person.by_machine) == (3, 2)
    quick.leave_out(["nobody/1"])
    quick.split(None, ["nobody/1"], "anna")  # it was a person after all
    assert rows(quick.gallery)["nobody/1"].tags == ()


def test_a_full_disk_or_a_gallery_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g.parquet", dim=DIM, fingerprint=MODEL)
    fill(gallery)
    said = Corrections(gallery, tmp_path / "steps.json")
    before = rows(gallery)
    for room in (10, 3_000):  # neither the step nor the rows fit; the step fits alone
        with full_disk(room), pytest.raises(SemreidError, match="cannot write"):
            said.name("group-1", "bert")
        assert rows(gallery) == before == rows(Gallery.open(tmp_path / "g.parquet"))
        assert Corrections(gallery, tmp_path / "steps.json").steps == said.steps == ()
    assert said.name("group-1", "bert").number == 1


def test_a_process_that_ends_in_the_middle_leaves_what_can_be_undone(
    quick: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = quick.gallery.exchange

    def half(before, after, **options):
        exchange(before[:2], after[:2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(quick.gallery, "exchange", half)
        with pytest.raises(KeyboardInterrupt):
            quick.name("group-1", "bert")
    again = Corrections(quick.gallery, quick._file)
    assert words(quick.gallery)["group-1/0"] == ("bert", True)
    again.undo(1)
    assert {words(quick.gallery)[id_] for id_ in of("group-1")} == {("group-1", False)}


def test_a_database_that_fails_in_the_middle_is_put_back(quick: Corrections, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = rows(quick.gallery), quick.gallery._store.write

    def half(entries, vectors):
        monkeypatch.undo()
        write(entries[:2], vectors[:2])
        raise SemreidError("the server is gone")

    monkeypatch.setattr(quick.gallery._store, "write", half)
    with pytest.raises(SemreidError, match="the server is gone"):
        quick.name("group-1", "bert")
    assert rows(quick.gallery) == before
    assert Corrections(quick.gallery, quick._file).steps == ()


def test_a_damaged_file_of_steps_is_named(quick: Corrections) -> None:
    quick.name("group-1", "bert")
    text = quick._file.read_text()
    for damaged in ("", "{}", text[: len(text) // 2], json.dumps([["x"]]), "[[1]]"):
        quick._file.write_text(damaged)
        with pytest.raises(SemreidError, match=r"steps\.json") as caught:
            Corrections(quick.gallery, quick._file)
        assert "what was said stays in the gallery" in caught.value.fix


def test_old_steps_are_forgotten(quick: Corrections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    for number in range(5):
        quick.name("group-1" if not number else f"p{number - 1}", f"p{number}")
    assert [step.number for step in quick.steps] == [3, 4, 5]
    monkeypatch.setattr(module, "ROWS", 8)  # each step has changed five
    quick.name("p4", "p5")
    assert [step.number for step in quick.steps] == [6]


def test_the_least_alike_come_first_and_others_who_are_alike_are_found(said: Corrections) -> None:
    gallery = said.gallery
    centre = np.eye(DIM)[0]
    gallery.upsert([0.5 * centre + 0.8 * np.eye(DIM)[1]], [Entry("odd", pid="group-1", tags=("grouped",))])
    entries, vectors = crops_of(gallery, "group-1")
    assert entries[0].id == "odd"
    assert len(entries) == len(vectors) == 6
    assert alike(gallery, "group-1", vectors)[0] == "group-2"
    assert "group-1" not in alike(gallery, "group-1", vectors)
    assert crops_of(gallery, "nobody there")[0] == []


def test_new_names_go_on_after_those_that_are_there(quick: Corrections) -> None:
    assert next_group(quick.gallery) == "group-4"
    assert next_group(quick.gallery, set(of("group-3"))) == "group-3"
    quick.gallery.upsert(np.eye(DIM)[:1], [Entry("x", pid="group-41")])
    assert quick.split("group-1", ["group-1/0"]).person == "group-42"
    quick.gallery.upsert(np.eye(DIM)[:1], [Entry("x", pid=f"group-{'9' * 250}")])  # somebody's name, beyond all numbers
    assert next_group(quick.gallery) == "group-43"
    quick.gallery.upsert(np.eye(DIM)[:1], [Entry("x", pid="group-999999999")])
    assert next_group(quick.gallery) == "group-1000000000"
    quick.gallery.upsert(np.eye(DIM)[:1], [Entry("y", pid="group-1000000000")])
    assert next_group(quick.gallery) == "group-1000000001"
