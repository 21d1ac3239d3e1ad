import numpy as np
import pytest
import torch

from semreid.explain.parts import COLORS, part_evidence, regions_over
from semreid.explain.sources import gather_evidence
from semreid.models.heads.base import REGIONS
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from tests.conftest import draw_figure


@pytest.fixture(scope="module")
def parted() -> ReIDModel:
    torch.manual_seed(1)
    return create_model("magnifiernet", num_ids=3, trunk="resnet18", width=0.25, size=(64, 32)).eval()


def test_a_model_without_regions_has_none_to_show(model: ReIDModel) -> None:
    crops = [draw_figure(pid, 1, 0) for pid in (1, 2, 3)]
    assert [(e.layers, e.parts) for e in part_evidence(model, crops[0], crops[1:])] == [((), ()), ((), ())]


def test_parts_are_compared_by_the_vectors_that_the_heads_wrote(parted: ReIDModel) -> None:
    crops = [draw_figure(pid, 1, 0) for pid in (1, 2)]
    (evidence,) = part_evidence(parted, crops[0], crops[1:])
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = parted.maps(images)
        parted.embed_maps(maps)
    vectors, labels = maps["region_vectors"], maps["regions"]
    assert [part.name for part in evidence.parts] == list(REGIONS[-vectors.shape[1] :])
    for r, part in enumerate(evidence.parts, len(REGIONS) - vectors.shape[1]):
        shares = [float((image == r).float().mean()) for image in labels]
        assert part.visibility == pytest.approx(shares)
        assert part.color == COLORS[r]
        if min(shares) == 0:
            assert part.similarity is None
        else:
            a, b = vectors[:, r - len(REGIONS)]
            assert part.similarity == pytest.approx(float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)


def test_all_sources_add_up(parted: ReIDModel) -> None:
    crops = [draw_figure(pid, 1, 0) for pid in (1, 2, 3)]
    for evidence in gather_evidence(parted, crops[0], crops[1:]):
        assert [layer.title for layer in evidence.layers] == ["what makes them similar", "body parts"]
        assert evidence.parts


def test_regions_have_their_colours_and_the_background_has_none() -> None:
    labels = np.array([[0, 0], [1, 1], [7, 7], [7, 7]], np.uint8)
    shown = regions_over(np.full((80, 40, 3), 100, np.uint8), labels).astype(int)
    np.testing.assert_array_equal(shown[0, 0], 100)
    for row, color in ((28, COLORS[1]), (70, COLORS[7])):
        expected = 0.4 * 100 + 0.6 * np.array(list(bytes.fromhex(color[1:])))
        np.testing.assert_allclose(shown[row, 20], expected, atol=1)
