import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.evaluation import embeddings
from semreid.evaluation.embeddings import embed_files
from semreid.gallery import Entry, Gallery
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image


@pytest.fixture(scope="module")
def model() -> ReIDModel:
    torch.manual_seed(0)
    return create_model("baseline", num_ids=3, trunk="resnet18", width=0.125, size=(64, 32)).eval()


def test_parquet_holds_path_camera_and_vector(
    figure_data: ReIDDataset, figures: Path, model: ReIDModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "CHUNK", 7)
    assert embed_files(model, figures / "query", tmp_path / "f.parquet") == (10, [])
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["path", "camid", "vector"]
    paths = sorted((figures / "query").iterdir())
    assert table["path"].to_pylist() == [str(p) for p in paths]
    assert table["camid"].to_pylist() == [s.camid for s in figure_data.query]
    vectors = np.stack(table["vector"].to_numpy())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, model.embed(paths), atol=1e-6)


def test_the_next_images_are_read_while_the_model_works(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_is_read, parts, read = threading.Event(), [], embeddings.read_good

    def reading(paths, **settings):
        found = read(paths, **settings)
        parts.append(len(paths))
        if len(parts) == 2:
            next_is_read.set()
        return found

    class Waiting:
        dim, size, fingerprint = 2, (64, 32), "f"

        def embed(self, images, *, flip: bool) -> np.ndarray:
            assert next_is_read.wait(60)
            return np.ones((len(images), 2), np.float32)

    monkeypatch.setattr(embeddings, "CHUNK", 4)
    monkeypatch.setattr(embeddings, "read_good", reading)
    assert embed_files(Waiting(), figures / "query", tmp_path / "f.parquet") == (10, [])
    assert parts == [4, 4, 2]


def test_one_image_without_camera(model: ReIDModel, tmp_path: Path) -> None:
    path = write_image(tmp_path / "me.png", draw_figure(1, 1, 0))
    assert embed_files(model, path, tmp_path / "f.parquet")[0] == 1
    assert pq.read_table(tmp_path / "f.parquet")["camid"].to_pylist() == [None]


def test_only_what_embed_wrote_is_written_over(model: ReIDModel, tmp_path: Path) -> None:
    path, out = write_image(tmp_path / "me.png", draw_figure(1, 1, 0)), tmp_path / "f.parquet"
    out.touch()  # as mktemp does
    for _ in range(2):
        assert embed_files(model, path, out)[0] == 1
    table = pq.read_table(out)
    with Gallery.open(tmp_path / "people.parquet", dim=model.dim, fingerprint=model.fingerprint) as gallery:
        gallery.add(model.embed([path]), [Entry("a", pid="anna")])
    pq.write_table(table.append_column("pid", [["anna"]]), tmp_path / "named.parquet")
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "of-pandas.parquet")
    (tmp_path / "text.parquet").write_text("mine")
    for name in ("people", "named", "of-pandas", "text"):
        file = tmp_path / f"{name}.parquet"
        before = file.read_bytes()
        with pytest.raises(SemreidError, match=f"{name}.parquet is there, and is no file that `semreid embed` wrote"):
            embed_files(model, path, file)
        assert file.read_bytes() == before


def test_damage_anywhere_is_found_when_vectors_are_added(model: ReIDModel, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"
    write_image(tmp_path / "in" / "a.png", draw_figure(1, 1, 0))
    embed_files(model, tmp_path / "in", out)
    content = bytearray(out.read_bytes())
    content[content.rindex(b"camid") + 2] ^= 1  # in the footer
    out.write_bytes(content)
    with pytest.raises(SemreidError, match="e.parquet"), Gallery.open("memory:", dim=model.dim) as gallery:
        gallery.import_parquet(out)


def test_corrupt_image_stops_it_unless_skipped_and_nothing_is_left(model: ReIDModel, tmp_path: Path) -> None:
    write_image(tmp_path / "in" / "a.png", draw_figure(1, 1, 0))
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    out = tmp_path / "out" / "f.parquet"
    with pytest.raises(SemreidError, match=r"b\.png") as caught:
        embed_files(model, tmp_path / "in", out)
    assert "--skip-corrupt" in caught.value.fix
    assert list(out.parent.iterdir()) == []
    done, skipped = embed_files(model, tmp_path / "in", out, skip_corrupt=True)
    assert done == 1
    assert "b.png" in skipped[0]


def test_no_images(model: ReIDModel, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="holds no image"):
        embed_files(model, tmp_path, tmp_path / "f.parquet")
