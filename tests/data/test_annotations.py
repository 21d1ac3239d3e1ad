import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semreid.data.annotations import (
    JOURNAL,
    Labelled,
    journal_lines,
    read_journal,
    require_own_labels,
    require_own_sizes,
)
from semreid.data.benchmarks import load_dataset
from semreid.data.sample import ReIDDataset
from semreid.data.store import annotation_paths, content_digest
from semreid.errors import SemreidError
from tests.conftest import write_image


@pytest.fixture
def folder(figure_data: ReIDDataset, tmp_path: Path) -> Path:
    """Labels of the training figures, as `semreid label` notes them."""
    rows = {
        str(s.path.relative_to(figure_data.root)): Labelled(0.9, content_digest(s).hex()) for s in figure_data.train
    }
    (tmp_path / JOURNAL).write_text(journal_lines(rows))
    return tmp_path


def test_labels_of_the_crops_are_taken_and_others_refused_by_name(figure_data: ReIDDataset, folder: Path) -> None:
    require_own_labels(figure_data, figure_data.train, folder)
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    swapped = [lines[0].replace(lines[0][-35:], lines[1][-35:]), *lines[2:]]  # one of another crop, one not noted
    (folder / JOURNAL).write_text("".join(swapped))
    with pytest.raises(SemreidError, match=f"2 of {len(lines)} labels in .* were not made of these crops") as caught:
        require_own_labels(figure_data, figure_data.train, folder)
    assert all(str(sample) in caught.value.what for sample in figure_data.train[:2])
    assert "semreid label" in caught.value.fix


def test_labels_of_another_data_set_with_the_same_names_are_refused(
    figures: Path, figure_data: ReIDDataset, tmp_path: Path
) -> None:
    other = shutil.copytree(figures, tmp_path / "other")
    require_own_labels(figure_data, figure_data.train, other)  # the same people elsewhere
    require_own_labels(figure_data, figure_data.train, figures)  # its own
    name = figure_data.train[3].path.relative_to(figures)
    write_image(other / name, np.zeros((64, 32, 3), np.uint8))
    with pytest.raises(SemreidError, match=f"1 of .* such as {figure_data.train[3]}"):
        require_own_labels(figure_data, figure_data.train, other)
    assert load_dataset(f"people:{other}").train[3].path == other / name


def test_masks_of_another_size_are_refused(figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path) -> None:
    samples = figure_data.train
    masks = annotation_paths(figure_data, samples, "masks", figure_masks)
    require_own_sizes(samples, masks)
    small = write_image(tmp_path / "small.png", np.zeros((32, 16), np.uint8))
    gone = tmp_path / "gone.png"  # whoever reads it says so
    with pytest.raises(SemreidError, match=f"1 of {len(samples)} masks are of another size .* {samples[2]}"):
        require_own_sizes(samples, [*masks[:2], small, gone, *masks[4:]])


def test_a_picture_that_lies_on_its_side_is_compared_as_it_is_seen(figure_data: ReIDDataset, tmp_path: Path) -> None:
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by a quarter
    Image.new("RGB", (64, 32)).save(tmp_path / "side.jpg", exif=turned)
    sample = replace(figure_data.train[0], path=tmp_path / "side.jpg")
    require_own_sizes([sample], [write_image(tmp_path / "side.png", np.zeros((64, 32), np.uint8))])


@given(st.dictionaries(st.text(), st.builds(Labelled, st.none() | st.floats(0, 1), st.text("0123456789abcdef"))))
def test_journal_reads_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Labelled]) -> None:
    file = tmp_path_factory.mktemp("journal") / JOURNAL
    file.write_text(journal_lines(rows) + '["half a li', encoding="utf-8")
    assert read_journal(file) == rows


@pytest.mark.parametrize("content", ["[]\n", "7\n", "{\n", "[[1], 2, 3]\n", '["a", 1]\n', '["a", 1, 2, 3]\n'])
def test_damaged_journals_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / JOURNAL).write_text(content)
    with pytest.raises(SemreidError, match=r"labels\.jsonl"):
        read_journal(tmp_path / JOURNAL)
