"""Search with a camera and a time filter, and adding rows, against a plain NumPy argsort, on 100,000 x 512.

python benchmarks/gallery.py                              in memory, through a Milvus Lite file
python benchmarks/gallery.py --uri http://localhost:19530   also a new gallery on a Milvus server
python benchmarks/gallery.py --quick                      seconds; for a test
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from _timing import command_line, crowd, timed
from semreid.gallery import Entry, Filter, Gallery

DAY = 86_400
BATCH = 1000
FILTER = Filter(camids=[3], since=8 * 3600, until=20 * 3600)  # a sixth of the cameras, half of the day
ANY = Filter()


class Rows(NamedTuple):
    """A gallery before it is one."""

    vectors: NDArray[np.float32]
    camids: NDArray[np.int64]
    times: NDArray[np.float64]
    entries: list[Entry]


def make_rows(rows: int, dim: int) -> tuple[NDArray[np.float32], Rows]:
    data = crowd(50, rows, dim)
    times = np.random.default_rng(1).uniform(0, DAY, rows)
    labels = zip(data.g_pids.tolist(), data.g_camids.tolist(), times.tolist(), strict=True)
    entries = [Entry(f"{i:032x}", f"/d/{i}.jpg", str(p), c, t) for i, (p, c, t) in enumerate(labels)]
    return data.query, Rows(data.gallery, data.g_camids, times, entries)


def sorted_all(query: NDArray[Any], rows: Rows, where: Filter) -> list[str]:
    """The usual few lines: all similarities, sort, drop what the filter does not want."""
    order = np.argsort(-(rows.vectors @ query), kind="stable")
    if where:
        assert where.since is not None
        assert where.until is not None
        in_time = (rows.times[order] >= where.since) & (rows.times[order] < where.until)
        order = order[(rows.camids[order] == where.camids[0]) & in_time]
    return [rows.entries[i].id for i in order[:20]]


def median_ms(search: Callable[[NDArray[Any]], list[str]], queries: NDArray[Any]) -> tuple[float, list[list[str]]]:
    search(queries[0])  # the first call may load or compile
    found, seconds = zip(*(timed(lambda q=q: search(q)) for q in queries), strict=True)  # type: ignore[misc]
    return 1e3 * float(np.median(seconds)), list(found)


def measure(uri: str, queries: NDArray[np.float32], rows: Rows) -> None:
    with Gallery.open(uri, dim=rows.vectors.shape[1], fingerprint="benchmark") as gallery:
        starts = range(0, len(rows.entries), BATCH)
        _, seconds = timed(
            lambda: [gallery.add(rows.vectors[s : s + BATCH], rows.entries[s : s + BATCH]) for s in starts]
        )
        _, first = timed(lambda: gallery.search(queries[0], 20))
        rate = f"{len(rows.entries) / seconds:,.0f} rows/s added in batches of {BATCH}"
        print(f"{uri}: {rate}; the first search took {first:.1f} s")
        for name, where in (("camera and time", FILTER), ("no filter", ANY)):
            compare(gallery, queries, rows, name, where)


def compare(gallery: Gallery, queries: NDArray[np.float32], rows: Rows, name: str, where: Filter) -> None:
    plain, expected = median_ms(lambda query: sorted_all(query, rows, where), queries)
    ours, found = median_ms(lambda query: [m.entry.id for m in gallery.search(query, 20, where=where)[0]], queries)
    same = float(np.mean([a == b for a, b in zip(found, expected, strict=True)]))
    print(
        f"  {name:16} {ours:7.1f} ms, plain NumPy argsort {plain:6.1f} ms: {plain / ours:5.2f} x, "
        f"{same:.0%} same top 20"
    )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--uri", help="a server to measure too; the gallery must not exist")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    queries, rows = make_rows(2000, 32) if arguments.quick else make_rows(arguments.rows, 512)
    with tempfile.TemporaryDirectory() as folder:
        for uri in ("memory:", f"{folder}/gallery.db", *([arguments.uri] if arguments.uri else [])):
            measure(uri, queries, rows)


if __name__ == "__main__":
    main()
