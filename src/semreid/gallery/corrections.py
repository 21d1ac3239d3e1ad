"""Correcting by hand who is who in a gallery: docs/adapt.md#correcting-by-hand.

What somebody says is kept in the rows themselves (`semreid.gallery.said`), for everybody who reads the gallery. A file
keeps the last steps, only so that they can be taken back.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from semreid.errors import SemreidError
from semreid.files import write_json
from semreid.gallery.enroll import require_person
from semreid.gallery.entry import Entry, Filter
from semreid.gallery.gallery import Gallery
from semreid.gallery.roster import next_group, state_of
from semreid.gallery.said import LEFT, NOT_A_PERSON, SPLIT, STAYED, named, person_said, split_keys
from semreid.gallery.store import ChangedError, NoSuchRowError
from semreid.reading import read_json

STEPS, ROWS = 100, 100_000
"""Steps that can be taken back, and how many rows they may have changed together."""
WITNESSES = 32
"""Crops of a person that tell later whether who is called so is still the same."""
LOOK_AGAIN = "somebody else, or a machine, may have changed it meanwhile: look again"


class CorrectionError(SemreidError):
    """A correction that makes no sense."""


class Word(NamedTuple):
    """What a row says of its person."""

    pid: str | None
    tags: tuple[str, ...]


class Change(NamedTuple):
    """What became of a row."""

    id: str
    before: Word
    after: Word


class Step(NamedTuple):
    """What somebody said at once.

    Attributes:
        number: From 1.
        what: In words.
        person: Whom it is about now; None for nobody.
        changes: The rows that it changed.
        undone: Whether it was taken back.
        left: Some of the rows that stayed with each person who lost others.
    """

    number: int
    what: str
    person: str | None
    changes: tuple[Change, ...]
    undone: bool = False
    left: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - never changed


_STEPS = TypeAdapter(tuple[Step, ...])


class Corrections:
    """What people say of the crops of a gallery; one after the other, whoever asks.

    Each method does all of what it is asked or nothing. ``seen`` are states of people, as `state_of` gives them: where
    any are given, only people who are still so are changed.

    Args:
        gallery: The gallery.
        file: Where the last steps are kept; made at the first one.

    Raises:
        SemreidError: If the file is damaged.
    """

    def __init__(self, gallery: Gallery, file: Path) -> None:
        self.gallery, self._file = gallery, file
        fix = "move it elsewhere: what was said stays in the gallery, and only cannot be undone any more"
        self.steps = read_json(file, _STEPS, fix, most=2**30) if file.exists() else ()
        """The last steps, the newest last."""

    def merge(self, people: Sequence[str], name: str = "", seen: Sequence[str] = ()) -> Step:
        """Say that people are one.

        Args:
            people: Two or more.
            name: What to call them; else as the first whom somebody named, or the first.
            seen: States.

        Returns:
            What was done. Every method raises `CorrectionError` for what makes no sense, `NoSuchRowError` for a person
            or a row that is not there, and `ChangedError` if it is not as it was seen.
        """
        found = {person: self._rows(person, seen) for person in dict.fromkeys(people)}
        if len(found) < 2:
            raise CorrectionError("one person cannot be merged", fix="choose two or more")
        by_hand = [person for person, rows in found.items() if any(map(person_said, rows))]
        name = name or next(iter(by_hand), people[0])
        if name not in found:
            self._require_nobody(name)
        rows = list(chain.from_iterable(found.values()))
        who = " and ".join(found) if len(found) < 4 else f"{len(found):,} people"
        return self._done(f"{who} are one person, {name}", name, rows, lambda row: named(row, name))

    def name(self, person: str, name: str, seen: Sequence[str] = ()) -> Step:
        """Say who all crops of a person show.

        Args:
            person: The person.
            name: The name; the old one to confirm it.
            seen: States.
        """
        rows = self._rows(person, seen)
        if name != person:
            self._require_nobody(name)
        what = f"{person} is {name}" if name != person else f"all crops of {name} are right"
        return self._done(what, name, rows, lambda row: named(row, name))

    def split(self, person: str | None, ids: Sequence[str], name: str = "", seen: Sequence[str] = ()) -> Step:
        """Say that some crops of a person show another one; the others are kept apart from that one.

        Args:
            person: The person; None for crops of nobody known.
            ids: Rows of the crops.
            name: Who they show, a person who is there or a new one; the same person to confirm these crops alone.
            seen: States.
        """
        chosen, rows = self._chosen(person, ids), [] if person is None else self._rows(person, seen)
        if len(chosen) == len(rows) and not name:
            raise CorrectionError(
                f"these are all crops of {person}", fix=f"name {person}, or merge it with another one"
            )
        to = _require_name(name) if name else next_group(self.gallery)
        stay = [row for row in rows if row.id not in chosen and person_said(row) is None and to != person]
        key = _common_key(stay) or secrets.token_hex(4)
        mark = (f"{SPLIT}{key}{LEFT}",) if stay else ()

        def change(row: Entry) -> Entry:
            if row.id in chosen:
                return named(row, to, more=mark)
            return replace(row, tags=(*row.tags, f"{SPLIT}{key}{STAYED}"))

        return self._done(_shows(chosen, person, to), to, [*chosen.values(), *stay], change)

    def leave_out(self, ids: Sequence[str], person: str | None = None) -> Step:
        """Say that crops show no person."""
        chosen = self._chosen(person, ids)

        def change(row: Entry) -> Entry:
            return named(row, None, more=(NOT_A_PERSON,))

        return self._done(_shows(chosen, person, "no person"), None, list(chosen.values()), change)

    def undo(self, number: int) -> Step:
        """Take a step back, if nobody has said anything else of its rows since; rows that are gone are passed over.

        Nor may others have got a name that it gives back: the two would become one person.
        """
        step = next((step for step in self.steps if step.number == number), None)
        if step is None:
            raise NoSuchRowError(f"there is no step {number} to undo", fix=f"the last {STEPS} can be")
        if step.undone:
            raise ChangedError(f"step {number} was undone already", fix="look again")
        changes = {change.id: change for change in step.changes}
        rows = [row for row in self.gallery.get(list(changes)) if row is not None]
        if any(Word(row.pid, row.tags) not in changes[row.id][1:] for row in rows):
            raise ChangedError(
                f"somebody has changed crops of step {number} ({step.what}) since", fix="undo the later step first"
            )
        back = [replace(row, **changes[row.id].before._asdict()) for row in rows]
        self._require_the_same(step, {new.pid for old, new in zip(rows, back, strict=True) if old.pid != new.pid})
        self.gallery.exchange(rows, back)
        done = step._replace(undone=True)
        self._keep(tuple(done if each is step else each for each in self.steps))
        return done

    def _rows(self, person: str, seen: Sequence[str]) -> list[Entry]:
        rows = list(self._all_of(person))
        if not rows:
            raise NoSuchRowError(f"the gallery has no person {person!r}", fix=LOOK_AGAIN)
        if seen and state_of(rows) not in seen:
            raise ChangedError(f"{person} is not as you saw it", fix=LOOK_AGAIN)
        return rows

    def _all_of(self, person: str) -> Iterator[Entry]:
        return chain.from_iterable(rows for rows, _ in self.gallery.scan(Filter(pids=[person])))

    def _chosen(self, person: str | None, ids: Sequence[str]) -> dict[str, Entry]:
        if not ids:
            raise CorrectionError("no crop is chosen", fix="choose one or more")
        ids = list(dict.fromkeys(ids))
        rows = {id_: row for id_, row in zip(ids, self.gallery.get(ids), strict=True) if row is not None}
        if len(rows) < len(ids):
            raise NoSuchRowError(
                f"{len(ids) - len(rows):,} of the {len(ids):,} crops are not in the gallery", fix=LOOK_AGAIN
            )
        if other := sum(row.pid != person for row in rows.values()):
            raise ChangedError(
                f"{other:,} of the {len(ids):,} crops are not of {person or 'nobody known'} any more", fix=LOOK_AGAIN
            )
        return rows

    def _require_nobody(self, name: str) -> None:
        _require_name(name)
        if self.gallery.count(Filter(pids=[name])):
            raise CorrectionError(
                f"there is a person {name} already", fix="merge the two if they are one, or add a word"
            )

    def _require_the_same(self, step: Step, people: Iterable[str | None]) -> None:
        """Refuse to give back a name that others have got since: a new grouping gives its numbers anew."""
        for person in filter(None, people):
            now = {row.id for row in self._all_of(person)}
            back = (change for other in self.steps if other.undone or other is step for change in other.changes)
            same = {change.id for change in back if change.before.pid == person}.union(step.left.get(person, ()))
            if now and now.isdisjoint(same):
                raise ChangedError(
                    f"step {step.number} ({step.what}) gives crops back to {person}, and others are called so by now",
                    fix=f"give who is {person} now another name first, or say by hand who the crops show",
                )

    def _left(self, pairs: Sequence[tuple[Entry, Entry]]) -> dict[str, tuple[str, ...]]:
        """Some of the rows that stay with each person who loses others."""
        moved = {old.id: old.pid for old, new in pairs if old.pid is not None and old.pid != new.pid}
        left: defaultdict[str, list[str]] = defaultdict(list)
        for row in chain.from_iterable(self._all_of(person) for person in set(moved.values())):
            if row.id not in moved:
                left[str(row.pid)].append(row.id)
        return {pid: tuple(ids[:: -(-len(ids) // WITNESSES)]) for pid, ids in left.items()}

    def _done(self, what: str, person: str | None, rows: Sequence[Entry], change: Callable[[Entry], Entry]) -> Step:
        try:
            pairs = [(row, new) for row in rows if (new := change(row)) != row]
        except SemreidError as error:  # a name or a tag too many
            raise CorrectionError(error.what, error.fix) from error
        if not pairs:
            raise CorrectionError(f"somebody has said already: {what}", fix="there is nothing to do")
        before, after = [old for old, _ in pairs], [changed for _, changed in pairs]
        steps, both = self.steps, zip(before, after, strict=True)
        changes = tuple(Change(a.id, Word(a.pid, a.tags), Word(b.pid, b.tags)) for a, b in both)
        number = steps[-1].number + 1 if steps else 1
        step = Step(number, what, person, changes, left=self._left(pairs))
        self._keep((*steps, step))  # first: what was half done when a process ends can be undone
        try:
            self.gallery.exchange(before, after)
        except SemreidError as error:
            if not isinstance(error, ChangedError):
                with contextlib.suppress(SemreidError):  # a database may have written a part
                    self.gallery.exchange(after, before, partly=True)
            self._keep(steps)
            raise
        return step

    def _keep(self, steps: tuple[Step, ...]) -> None:
        kept = steps[-STEPS:]
        while len(kept) > 1 and sum(len(step.changes) for step in kept) > ROWS:
            kept = kept[1:]
        write_json(self._file, kept)
        self.steps = kept


def _require_name(name: str) -> str:
    try:
        return require_person(name)
    except SemreidError as error:
        raise CorrectionError(error.what, error.fix) from error


def _common_key(rows: Sequence[Entry]) -> str:
    """A key of an earlier split in which all rows have stayed, if there is one: they need no other."""
    keys = [split_keys(row, STAYED) for row in rows]
    return min(set.intersection(*keys), default="") if keys else ""


def _shows(rows: Collection[str], person: str | None, whom: str) -> str:
    count = f"{len(rows):,} crops" if len(rows) > 1 else "1 crop"
    return f"{count} of {person or 'nobody known'} {'show' if len(rows) > 1 else 'shows'} {whom}"
