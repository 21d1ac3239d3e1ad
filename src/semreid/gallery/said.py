"""What people said of crops, as the rows of a gallery keep it: docs/adapt.md#correcting-by-hand.

A row with a person was named by somebody, unless it has the tag ``grouped``: then a machine did, which may think again.
Where crops of a machine's group were split off, those have a tag ``split:KEY:left``, and the others, of whom nobody has
said more, ``split:KEY:stayed``: they are not the people that have left, whatever these are called by now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semreid.functional.grouping import Said
from semreid.gallery.entry import Entry

GROUPED = "grouped"
"""Tag of rows whose person a machine has named."""
NOT_A_PERSON = "not-a-person"
"""Tag of rows that show nobody, as somebody said."""
SPLIT, LEFT, STAYED = "split:", ":left", ":stayed"
TRACK = "track:"
"""How the tag begins that names the track of a row."""


def person_said(entry: Entry) -> str | None:
    """Return whom somebody said that a row shows; None if nobody did.

    Example:
        >>> person_said(Entry(pid="anna")), person_said(Entry(pid="group-3", tags=("grouped",)))
        ('anna', None)
    """
    return None if GROUPED in entry.tags else entry.pid


def is_free(entry: Entry) -> bool:
    """Tell whether a machine may say whom a row shows.

    Example:
        >>> is_free(Entry()), is_free(Entry(pid="anna")), is_free(Entry(tags=("not-a-person",)))
        (True, False, False)
    """
    return person_said(entry) is None and NOT_A_PERSON not in entry.tags


def named(entry: Entry, pid: str | None, *, by_machine: bool = False, more: Sequence[str] = ()) -> Entry:
    """Return a row as it is once somebody, or a machine, has said whom it shows.

    Example:
        >>> named(Entry(pid="group-3", tags=("door", "grouped")), "anna").tags
        ('door',)
    """
    kept = [tag for tag in entry.tags if tag not in (GROUPED, NOT_A_PERSON)]
    return replace(entry, pid=pid, tags=(*kept, *more, *([GROUPED] if by_machine else [])))


def renewed(old: Entry, new: Entry) -> Entry:
    """Return a row whose crop was embedded again: all that is told of it now, and of what is not, all that was known.

    Who it shows is as somebody says now, or else as somebody said before, or else as a machine says. Tags come
    together; only a track takes the place of another one.

    Args:
        old: The row as it is.
        new: The same row by its file, and by what is said of all files.

    Example:
        >>> row = renewed(Entry("a", pid="anna", camid=3, tags=("gate", "track:1")), Entry("a", tags=("track:2",)))
        >>> row.pid, row.camid, row.tags
        ('anna', 3, ('gate', 'track:2'))
        >>> renewed(Entry("a", pid="anna"), Entry("a", pid="group-3", tags=("grouped",))).pid
        'anna'
    """
    who = new if not is_free(new) or (is_free(old) and new.pid is not None) else old
    marks = (GROUPED, NOT_A_PERSON)
    others = [tag for tag in old.tags if not (track_of(new) and tag.startswith(TRACK))]
    tags = [tag for tag in (*others, *new.tags) if tag not in marks] + [tag for tag in who.tags if tag in marks]
    path = new.path or old.path
    return Entry(
        new.id,
        path,
        who.pid,
        old.camid if new.camid is None else new.camid,
        old.timestamp if new.timestamp is None else new.timestamp,
        old.box if new.box is None and path == old.path else new.box,
        tuple(tags),
    )


def said_of(entries: Sequence[Entry]) -> Said | None:
    """Collect what people said of rows.

    Returns:
        By their places in the list; None if nobody said anything that binds or parts them.

    Example:
        >>> rows = [Entry(pid="anna"), Entry(pid="bert", tags=("split:1:left",)), Entry(tags=("split:1:stayed",))]
        >>> said = said_of(rows)
        >>> said.people.tolist(), said.apart.tolist()
        ([0, 1, -1], [[2, 1]])
    """
    numbers: dict[str, int] = {}
    pids = [person_said(entry) for entry in entries]
    people = [-1 if pid is None else numbers.setdefault(pid, len(numbers)) for pid in pids]
    if not numbers:
        return None
    left: dict[str, set[int]] = defaultdict(set)
    for person, entry in zip(people, entries, strict=True):
        for key in split_keys(entry, LEFT) if person >= 0 else ():
            left[key].add(person)
    apart = {
        (row, other)
        for row, (person, entry) in enumerate(zip(people, entries, strict=True))
        for key in (split_keys(entry, STAYED) if person < 0 else ())
        for other in left[key]
    }
    return Said(np.array(people, np.int64), np.array(sorted(apart), np.int64).reshape(-1, 2))


def split_keys(entry: Entry, side: str) -> set[str]:
    """Return the keys of the splits that a row was on a side of."""
    return {tag[len(SPLIT) : -len(side)] for tag in entry.tags if tag.startswith(SPLIT) and tag.endswith(side)}


def track_of(entry: Entry) -> str:
    """Return the track of a row; empty if none is known.

    Example:
        >>> track_of(Entry(tags=("door", "track:17")))
        '17'
    """
    return next((tag.removeprefix(TRACK) for tag in entry.tags if tag.startswith(TRACK)), "")
