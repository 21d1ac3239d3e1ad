"""Search in which body regions decide: against loops over what a model says of each crop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semreid.errors import SemreidError
from semreid.gallery import Entry, Gallery, Match
from semreid.gallery import parts as part_search
from semreid.gallery.parts import PartOrder, region_weights
from semreid.models.model import ReIDModel
from semreid.models.parts import Parts
from semreid.models.zoo import create_model
from tests.conftest import draw_figure, write_image

HEAD, LEGS, OTHER = np.eye(3, dtype=np.float32)


class Seen:
    """Stands for a model: an image's first pixel names what is seen of the crop."""

    def __init__(self, *crops: tuple[list[np.ndarray], list[float]]) -> None:
        self.crops, self.embedded = crops, 0

    def embed(self, images, *, parts: bool) -> Parts:
        rows = [self.crops[image[0, 0, 0]] for image in images]
        self.embedded += len(rows)
        regions, visibility = (np.array(values, np.float32) for values in zip(*rows, strict=True))
        names = ("background", "head", "foot")
        whole = np.ones((len(rows), 3), np.float32) / np.sqrt(3)
        return Parts(whole, {}, regions, visibility, np.zeros((len(rows), 2, 2), np.uint8), names)


def image(number: int) -> np.ndarray:
    return np.full((4, 2, 3), number, np.uint8)


@pytest.fixture
def found(tmp_path: Path) -> list[Match]:
    """Three candidates in the order of the whole embedding."""
    places = [write_image(tmp_path / f"{i}.png", image(i)) for i in (1, 2, 3)]
    return [Match(Entry(id=str(i), path=str(p)), 0.9 - i / 100) for i, p in enumerate(places, 1)]


def test_only_what_both_show_decides(found: list[Match]) -> None:
    model = Seen(
        ([OTHER, HEAD, LEGS], [0.5, 0.5, 0.0]),  # the query: its legs are hidden
        ([OTHER, LEGS, LEGS], [0.4, 0.3, 0.3]),  # another head, and the background of the query
        ([HEAD, HEAD, OTHER], [0.4, 0.3, 0.3]),  # the head of the query; the legs are another's, but nobody knows
        ([OTHER, OTHER, LEGS], [0.7, 0.0, 0.3]),  # nothing that the query shows
    )
    order = PartOrder(model, [image(0)])
    assert [match.entry.id for match in order(0, found)] == ["2", "1", "3"]
    assert order(0, found) == sorted(found, key=lambda match: "213".index(match.entry.id))  # similarities stay
    assert model.embedded == 1 + 3  # each candidate once
    assert order(0, []) == []


def test_a_region_weighs_the_root_of_what_it_covers_and_the_background_nothing() -> None:
    seen = Seen(([OTHER, HEAD, LEGS], [0.75, 0.16, 0.09]), ([OTHER, HEAD, LEGS], [1.0, 0.0, 0.0]))
    weights = region_weights(seen.embed([image(0), image(1)], parts=True))
    np.testing.assert_allclose(weights, [[0, 0.4, 0.3], [0, 0, 0]], atol=1e-7)


def test_the_whole_and_the_shared_regions_weigh_alike(found: list[Match]) -> None:
    """The candidate whose regions are 0.2 nearer wins where its whole is 0.19 farther, and not where it is 0.21."""
    near, far = HEAD, 0.8 * HEAD + 0.6 * OTHER
    crops = ([OTHER, HEAD, LEGS], [0.0, 1.0, 0.0]), ([OTHER, far, LEGS], [0.0, 1.0, 0.0])
    for behind, order in ((0.19, ["2", "1"]), (0.21, ["1", "2"])):
        model = Seen(*crops, ([OTHER, near, LEGS], [0.0, 1.0, 0.0]))
        one, other = found[0], replace(found[1], similarity=found[0].similarity - behind)
        assert [match.entry.id for match in PartOrder(model, [image(0)])(0, [one, other])] == order


def test_candidates_are_forgotten_before_they_fill_the_memory(found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_search, "KEPT", 1)
    model = Seen(*[([OTHER, HEAD, LEGS], [0.0, 0.5, 0.5])] * 4)
    order = PartOrder(model, [image(0)])
    assert order(0, found) == found
    assert order(0, found) == found
    assert model.embedded == 1 + 3 + 3


@pytest.fixture(scope="module")
def parted() -> ReIDModel:
    torch.manual_seed(1)
    model = create_model("magnifiernet", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32))
    torch.nn.init.normal_(model.get_submodule("heads.parsing.decoder.3").weight)  # untrained, all is background
    return model.eval()


def test_a_search_agrees_with_a_loop_over_regions(parted: ReIDModel, tmp_path: Path) -> None:
    crops = [draw_figure(pid, camid, 0) for pid in range(6) for camid in (1, 2)]
    entries = [Entry(path=str(write_image(tmp_path / f"{i}.png", crop))) for i, crop in enumerate(crops)]
    order = PartOrder(parted, crops[:2])
    seen = parted.embed(crops, parts=True)
    with Gallery.open("memory:", dim=parted.dim, fingerprint=parted.fingerprint) as gallery:
        gallery.add(seen.embedding, entries)
        matches = gallery.search(order.vectors, 12, reorder=order)
        assert gallery.search(order.vectors, 3, reorder=order) == [line[:3] for line in matches]
        changed = [line != plain for line, plain in zip(matches, gallery.search(order.vectors, 12), strict=True)]
    assert all(changed)
    for q, line in enumerate(matches):
        expected = []
        for g in range(12):
            pairs = [(r, np.sqrt(seen.visibility[q, r] * seen.visibility[g, r])) for r in range(1, 8)]
            total = sum(weight for _, weight in pairs)
            apart = sum(weight * (1 - seen.regions[q, r] @ seen.regions[g, r]) for r, weight in pairs)
            expected.append(1 - seen.embedding[q] @ seen.embedding[g] + (apart / total if total else 1))
        assert [entries.index(replace(match.entry, id="")) for match in line] == np.argsort(expected).tolist()


def test_what_cannot_be_ordered_is_told(parted: ReIDModel, found: list[Match]) -> None:
    baseline = create_model("baseline", num_ids=1, trunk="resnet18", width=0.25, size=(64, 32))
    with pytest.raises(SemreidError, match="knows no body regions"):
        PartOrder(baseline, [image(0)])
    order = PartOrder(parted, [image(0)])
    Path(found[1].entry.path).write_bytes(b"cut short")
    with pytest.raises(SemreidError, match=r"2\.png cannot be decoded"):
        order(0, found)
    with pytest.raises(SemreidError, match="the gallery knows no image of row 7"):
        order(0, [Match(Entry(id="7"), 1.0)])
    with (
        Gallery.open("memory:", dim=parted.dim, fingerprint=parted.fingerprint) as gallery,
        pytest.raises(SemreidError, match="exclude each other"),
    ):
        gallery.search(order.vectors, reorder=order, rerank=True)


def test_a_query_that_the_order_was_not_made_for_is_told(found: list[Match]) -> None:
    order = PartOrder(Seen(([OTHER, HEAD, LEGS], [0.5, 0.5, 0.0])), [image(0)])
    with pytest.raises(SemreidError, match="made for 1 queries, and is asked about number 2"):
        order(1, found)
