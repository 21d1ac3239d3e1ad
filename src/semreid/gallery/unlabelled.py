"""Crops whose people are to be found, and the rows of a gallery that they are or become."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semreid.data.crops import Crops, arranged, readable
from semreid.errors import SemreidError, located
from semreid.gallery.crops import sample_of
from semreid.gallery.entry import Entry, derived_id
from semreid.gallery.gallery import Gallery
from semreid.gallery.said import NOT_A_PERSON, TRACK, said_of, track_of
from semreid.parallel import Progress


def crops_in(gallery: Gallery, *, skip_corrupt: bool = False, progress: Progress | None = None) -> Crops:
    """Take the crops of a gallery, with cameras, times, tracks (``track:NAME`` among the tags) and what people said.

    Args:
        gallery: The gallery, whose rows name their pictures.
        skip_corrupt: Leave unreadable images out.
        progress: Told how far the look at all images is.

    Returns:
        The crops; those that somebody said show no person are left out.

    Raises:
        SemreidError: If no row names its picture.
    """
    rows = [entry for entries, _ in gallery.scan() for entry in entries if NOT_A_PERSON not in entry.tags]
    seen = [entry for entry in rows if entry.path]
    if not seen:
        raise SemreidError(
            f"{gallery.uri} has {len(rows):,} rows, and none names its picture",
            fix="fill it from files: semreid gallery add",
        )
    by_id = {entry.id: entry for entry in seen}
    samples, cameras = [sample_of(entry) for entry in seen], [entry.camid for entry in seen]
    tracks = [track_of(entry) for entry in seen]
    crops = arranged("gallery", gallery.uri, samples, cameras, tracks=tracks, ids=list(by_id))
    if without := len(rows) - len(seen):
        left = f"{gallery.uri}: {without:,} rows that name no picture were left out"
        crops = replace(crops, warnings=(*crops.warnings, left))
    crops = readable(crops, progress) if skip_corrupt else crops
    return replace(crops, said=said_of([by_id[id_] for id_ in crops.ids]))


def with_words(crops: Crops, gallery: Gallery) -> Crops:
    """Add to crops from elsewhere what people said of them in a gallery.

    Returns:
        The crops; those that somebody said show no person are left out.
    """
    places = [row_of(crops, row) for row in range(len(crops))]
    rows = [known or place for known, place in zip(gallery.get([p.id for p in places]), places, strict=True)]
    kept = np.array([row for row, entry in enumerate(rows) if NOT_A_PERSON not in entry.tags], np.int64)
    return replace(crops.only(kept), said=said_of([rows[row] for row in kept]))


def row_of(crops: Crops, row: int) -> Entry:
    """Return the row of a gallery that `semreid gallery add` would make of a crop.

    Returns:
        The row, of nobody known.

    Raises:
        SemreidError: If its path or track is none that a gallery keeps; the message names the crop.
    """
    sample, camera = crops.samples[row], int(crops.cameras[row])
    name = crops.track_name(row)
    place = str(replace(sample, path=sample.path.absolute()))
    tags = (f"{TRACK}{name}",) if name else ()
    with located(sample):
        entry = Entry(path=place, camid=None if camera < 0 else camera, timestamp=sample.timestamp, tags=tags)
    return replace(entry, id=derived_id(entry))
