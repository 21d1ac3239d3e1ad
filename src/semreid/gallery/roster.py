"""Who is in a gallery, by whose word, and who looks alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from semreid.gallery.entry import Entry, Filter, Vectors
from semreid.gallery.gallery import LARGEST_K, Gallery
from semreid.gallery.said import NOT_A_PERSON, person_said

FACES = 8
"""Crops by which a person is shown, and by which those who look alike are searched."""
ALIKE = 4
_GROUP = re.compile(r"group-(\d{1,200})", re.ASCII)  # the next number must fit into a name, too


@dataclass
class Person:
    """A person of a gallery.

    Attributes:
        name: The name.
        crops: Number of crops.
        by_machine: How many of them a machine took for this person, and nobody has confirmed.
        cameras: Cameras that are known.
        faces: Some of the crops.
        state: As in `state_of`.
    """

    name: str
    crops: int = 0
    by_machine: int = 0
    cameras: set[int] = field(default_factory=set)
    faces: list[Entry] = field(default_factory=list)
    state: str = ""


class Roster(NamedTuple):
    """Who is in a gallery.

    Attributes:
        groups: People of whom only a machine has spoken, those with most crops first.
        people: People whom somebody named, those with most crops first.
        nobody: Crops of nobody known.
        not_people: Crops that show no person, as somebody said.
    """

    groups: list[Person]
    people: list[Person]
    nobody: int
    not_people: int


def roster(gallery: Gallery) -> Roster:
    """Count who is in a gallery; reads all rows, without their vectors."""
    people: dict[str, Person] = {}
    states: defaultdict[str, int] = defaultdict(int)
    nobody = not_people = 0
    for rows, _ in gallery.scan():
        for row in rows:
            if row.pid is None:
                nobody, not_people = nobody + (NOT_A_PERSON not in row.tags), not_people + (NOT_A_PERSON in row.tags)
                continue
            if row.pid not in people:
                people[row.pid] = Person(row.pid)
            _count(people[row.pid], row)
            states[row.pid] += _digest(row)
    for name, person in people.items():
        person.state = _state(states[name])
    ordered = sorted(people.values(), key=lambda person: (-person.crops, person.name))
    groups = [person for person in ordered if person.by_machine == person.crops]
    return Roster(groups, [person for person in ordered if person.by_machine < person.crops], nobody, not_people)


def unnamed(gallery: Gallery, *, not_people: bool) -> Iterator[Entry]:
    """Go through the rows of nobody known; or of those that show no person, as somebody said."""
    for rows, _ in gallery.scan():
        yield from (row for row in rows if row.pid is None and (NOT_A_PERSON in row.tags) is not_people)


def crops_of(gallery: Gallery, name: str) -> tuple[list[Entry], Vectors]:
    """Take the crops of a person, those first that look least like the others.

    Returns:
        The rows, and their unit vectors (N, D).
    """
    batches = list(gallery.scan(Filter(pids=[name]), vectors=True))
    rows = [row for entries, _ in batches for row in entries]
    vectors = np.concatenate([np.zeros((0, gallery.dim), np.float32), *(vectors for _, vectors in batches)])
    order = np.argsort(vectors @ vectors.sum(axis=0), kind="stable")
    return [rows[i] for i in order], vectors[order]


def alike(gallery: Gallery, name: str, vectors: Vectors) -> list[str]:
    """Find the people who look most like one.

    Args:
        gallery: The gallery.
        name: The person, who is left out.
        vectors: Vectors of this person (N, D), such as those of `crops_of`.

    Returns:
        Up to four other people, by their most similar crops, the most similar first.
    """
    some = vectors[:: max(1, len(vectors) // FACES)][:FACES]
    best: dict[str, float] = {}
    for match in (m for matches in gallery.search(some, min(len(vectors) + 50, LARGEST_K)) for m in matches):
        if match.entry.pid not in (None, name):
            best[match.entry.pid] = max(match.similarity, best.get(match.entry.pid, -1.0))
    return sorted(best, key=lambda pid: -best[pid])[:ALIKE]


def state_of(rows: list[Entry]) -> str:
    """Digest who a person's rows are and what is said of them, to find out later whether that has changed.

    Example:
        >>> a, b = Entry("a", pid="anna"), Entry("b", pid="anna")
        >>> state_of([a, b]) == state_of([b, a]) != state_of([a])
        True
    """
    return _state(sum(map(_digest, rows)))


def group_number(name: str | None) -> int:
    """Return the number in a name that a machine gave; 0 for any other name."""
    match = _GROUP.fullmatch(name or "")
    return int(match[1]) if match else 0


def next_group(gallery: Gallery, renewed: frozenset[str] | set[str] = frozenset()) -> str:
    """Make up a name that no row has, but for those that get another one.

    Args:
        gallery: The gallery.
        renewed: Ids of rows whose name does not count.

    Returns:
        ``group-`` and a number.
    """
    names = (row.pid for rows, _ in gallery.scan() for row in rows if row.id not in renewed)
    return f"group-{max(map(group_number, names), default=0) + 1}"


def _count(person: Person, row: Entry) -> None:
    person.crops += 1
    person.by_machine += person_said(row) is None
    if len(person.faces) < FACES:
        person.faces.append(row)
    if row.camid is not None:
        person.cameras.add(row.camid)


def _digest(row: Entry) -> int:
    return int.from_bytes(blake2b(repr((row.id, row.pid, row.tags)).encode(), digest_size=8).digest())


def _state(total: int) -> str:
    return f"{total % 2**64:016x}"
