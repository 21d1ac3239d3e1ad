from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from semreid.data.batch import Batch
from semreid.models.heads import Regularization
from semreid.models.heads.regularization import sample_regions


@pytest.fixture
def maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "layer3": torch.randn(8, 16, 6, 4, generator=generator).requires_grad_(),
        "regions": torch.randint(0, 8, (8, 6, 4), generator=generator),
    }


@pytest.fixture
def batch() -> Batch:
    pids = torch.arange(4).repeat_interleave(2)
    return Batch(images=torch.zeros(8, 3, 96, 64), pids=pids, camids=pids)


def head(**options: object) -> Regularization:
    torch.manual_seed(0)
    return Regularization("layer3", 16, 4, **options)


def test_hides_two_upper_regions_and_a_lower_one_all_18_ways_alike() -> None:
    torch.manual_seed(0)
    seen = Counter(tuple((~sample_regions()).nonzero()[:, 0].tolist()) for _ in range(3600))
    assert len(seen) == 18
    assert all(a in (1, 2, 3, 4) and b in (1, 2, 3, 4) and a < b and c in (5, 6, 7) for a, b, c in seen)
    assert min(seen.values()) > 140  # of 200 expected, four deviations
    assert max(seen.values()) < 260


def test_all_processes_draw_the_same_from_the_generator_that_the_loop_sets() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(7)
        draws.append(torch.stack([sample_regions() for _ in range(3)]))
    assert torch.equal(*draws)


def test_losses_equal_the_masked_map_under_global_max_pooling(maps, batch) -> None:
    srb = head(triplet=True)
    torch.manual_seed(3)
    kept = sample_regions()
    torch.manual_seed(3)
    losses = srb.losses(maps, batch)
    mask = kept[maps["regions"]].float()
    pooled = F.adaptive_max_pool2d(srb.block(maps["layer3"]) * mask[:, None], 1).flatten(1)
    feature = pooled @ srb.reduce.weight.T
    logits = F.batch_norm(feature, None, None, training=True) @ srb.classifier.weight.T
    beta = torch.sigmoid(mask.mean())
    torch.testing.assert_close(losses["id"], beta * F.cross_entropy(logits, batch.pids, label_smoothing=0.1))
    assert 0.5 < beta < 0.74
    assert losses["triplet"] > 0


def test_hidden_regions_get_no_gradient(maps, batch) -> None:
    srb = head().eval()  # a normalisation that does not mix positions
    torch.manual_seed(3)
    kept = sample_regions()
    maps["regions"].zero_()[:, :3] = int((~kept).nonzero()[0])
    torch.manual_seed(3)
    srb.losses(maps, batch)["id"].backward()
    received = maps["layer3"].grad.abs().sum((0, 1, 3))
    assert (received > 0).tolist() == [False, False, True, True, True, True]  # the 3x3 convolution looks one row up


def test_the_triplet_loss_is_a_choice(maps, batch) -> None:
    assert set(head().losses(maps, batch)) == {"id"}
    assert set(head(triplet=True).losses(maps, batch)) == {"id", "triplet"}


def test_all_hidden_is_still_finite(maps, batch) -> None:
    maps["regions"] = torch.full((8, 6, 4), 5)
    for seed in range(6):  # some hide region 5
        torch.manual_seed(seed)
        assert torch.isfinite(head().losses(maps, batch)["id"])


def test_inference_hides_nothing_and_needs_no_regions(maps) -> None:
    srb = head().eval()
    expected = srb.neck(srb.reduce(srb.block(maps["layer3"]).amax((2, 3))))
    del maps["regions"]
    torch.testing.assert_close(srb.embed(maps), expected)
    assert srb.embed({"layer3": maps["layer3"][:1]}).shape == (1, 16)


def test_positions_of_no_known_region_stay(maps, batch) -> None:
    srb = head()
    losses = []
    for unknown in (0, 255):  # the background always stays, too
        torch.manual_seed(3)
        regions = maps["regions"].clone()
        regions[:, :2] = unknown
        losses.append(srb.losses({**maps, "regions": regions}, batch)["id"])
    torch.manual_seed(3)
    kept = sample_regions()
    shares = []
    for unknown in (0, 255):
        regions = maps["regions"].clone()
        regions[:, :2] = unknown
        known = regions < len(kept)
        shares.append(torch.sigmoid((kept[regions.clamp(max=7)] & known).float().mean()))
    torch.testing.assert_close(losses[0] / shares[0], losses[1] / shares[1])
