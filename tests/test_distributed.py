"""Sharing work among processes; that two train as one is tested in training/."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from semreid import distributed
from semreid.errors import SemreidError
from semreid.gallery import Gallery
from semreid.models.card import Card, save_model
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image
from tests.two_processes import run_by_two


def test_one_process_works_through_all_items_as_they_are_asked_for() -> None:
    seen: list[int] = []

    def work(items):
        for item in items:
            seen.append(item)
            yield -item

    results = distributed.shared(work, [1, 2, 3])
    assert (next(results), seen) == (-1, [1])
    assert list(results) == [-2, -3]
    assert distributed.by_first(lambda: 5) == distributed.first_process_first(lambda: 5) == 5


def test_errors_can_travel_to_other_processes() -> None:
    error = pickle.loads(pickle.dumps(SemreidError("it is broken", fix="mend it")))
    assert (str(error), error.what, error.fix) == ("it is broken\n  way out: mend it", "it is broken", "mend it")


def test_batch_normalisation_keeps_the_digits_of_a_small_spread() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)) * 0.01 + 10
    norm = torch.nn.BatchNorm1d(16)
    exact = torch.nn.BatchNorm1d(16).double()(x.double())
    found = distributed.GlobalBatchNorm(norm)(x)
    assert (found - exact).abs().max() < 2e-3
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.double().var(0).float())


def test_moments_of_parts_are_those_of_the_whole() -> None:
    parts = torch.randn(3, 8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(0) + 100
    moments = torch.stack((parts.mean(1), parts.var(1, unbiased=False)), dim=1)
    mean, var = distributed.pooled_moments(moments)
    whole = parts.flatten(0, 1)
    torch.testing.assert_close((mean, var), (whole.mean(0), whole.var(0, unbiased=False)))


def parts_of(file: Path) -> list[str]:
    return pq.read_table(file)["path"].to_pylist()


@pytest.mark.timeout(300)
def test_two_processes_embed_evaluate_and_add_what_one_does(
    figures: Path, tmp_path: Path, run, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    arguments = {"name": "baseline", "num_ids": 6, "trunk": "resnet18", "width": 0.125, "size": (64, 32)}
    model, folder = create_model(**arguments), tmp_path / "run"
    folder.mkdir()
    save_model(folder, model, Card(arguments, {}, "free", 0))
    many = tmp_path / "many"
    for i in range(300):  # three chunks of `semreid embed`, five batches of `gallery add`
        write_image(many / f"{i:03d}_c{i % 3}.png", draw_figure(i % 9, i % 3, i))
    bad = tmp_path / "bad"
    for name in ("a", "b", "c"):
        write_image(bad / f"{name}.png", draw_figure(1, 1, 0))
    (bad / "b.png").write_bytes(b"no image")
    torn = shutil.copytree(figures, tmp_path / "torn")
    next((torn / "query").iterdir()).write_bytes(b"no image")

    def commands(out: Path) -> list[list[object]]:
        return [
            ["embed", folder, many, "--out", out / "f.parquet"],
            ["evaluate", folder, "--data", f"people:{figures}", "--flip", "--out", out / "report.json"],
            ["gallery", "add", "--gallery", out / "g.parquet", "--model", folder, many],
            ["gallery", "add", "--gallery", out / "g.db", "--model", folder, many],
            ["gallery", "add", "--gallery", out / "bad.parquet", "--model", folder, "--batch-size", 1, bad],
            ["embed", folder, bad, "--out", out / "bad.parquet.x"],
            ["evaluate", folder, "--data", f"people:{torn}"],
        ]

    one, two = tmp_path / "one", tmp_path / "two"
    codes = [0, 0, 0, 0, 1, 1, 1]
    assert [run(*command).code for command in commands(one)] == codes
    assert run_by_two(*commands(two)) == codes
    said = capfd.readouterr().err
    assert said.count("error: ") == 3
    assert said.count("error: 1 of ") == 1  # an image of the store, which the first process makes
    assert (two / "f.parquet").read_bytes() == (one / "f.parquet").read_bytes()
    assert parts_of(two / "f.parquet") == sorted(str(path) for path in many.iterdir())
    assert json.loads((two / "report.json").read_text()) == json.loads((one / "report.json").read_text())
    for name in ("g.parquet", "g.db", "bad.parquet"):
        (ids, vectors), (expected, wanted) = contents(two / name), contents(one / name)
        assert len(ids) == (1 if name.startswith("bad") else 300)
        assert ids == expected
        np.testing.assert_array_equal(vectors, wanted)
    assert not (two / "bad.parquet.x").exists()


def contents(uri: Path) -> tuple[list[str], np.ndarray]:
    """Ids in order, and their vectors."""
    with Gallery.open(uri) as gallery:
        rows = [
            (e.id, v) for entries, vectors in gallery.scan(vectors=True) for e, v in zip(entries, vectors, strict=True)
        ]
    rows.sort(key=lambda row: row[0])
    return [row[0] for row in rows], np.stack([row[1] for row in rows])
