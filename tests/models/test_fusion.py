from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from semreid.data.batch import Batch
from semreid.models.heads import Fusion


@pytest.fixture
def maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    regions = torch.randint(0, 8, (8, 6, 4), generator=generator)
    regions[2][regions[2] == 3] = 0  # one image without upper arms
    return {"layer3": torch.randn(8, 16, 6, 4, generator=generator), "regions": regions}


@pytest.fixture
def batch() -> Batch:
    pids = torch.arange(4).repeat_interleave(2)
    return Batch(images=torch.zeros(8, 3, 96, 64), pids=pids, camids=pids)


def head(**options: object) -> Fusion:
    torch.manual_seed(0)
    return Fusion("layer3", 16, 4, **options)


def masked_copies(sfb: Fusion, maps: dict[str, torch.Tensor], first: int = 0) -> torch.Tensor:
    features = sfb.block(maps["layer3"])
    masks = [(maps["regions"] == region).float()[:, None] for region in range(first, 8)]
    return torch.stack([F.adaptive_max_pool2d(features * mask, 1).flatten(1) for mask in masks], dim=1)


def cross_entropy(logits: torch.Tensor, pids: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, pids, label_smoothing=0.1)


@pytest.mark.parametrize("background", [True, False])
def test_losses_equal_the_published_formulation_region_by_region(maps, batch, background: bool) -> None:
    sfb, first = head(background=background), 0 if background else 1
    losses = sfb.losses(maps, batch)
    regions = masked_copies(sfb, maps, first)
    auxiliary = []
    for i, region in enumerate(range(first, 8)):
        logits = F.batch_norm(regions[:, i], None, None, training=True) @ sfb.region_heads.classifiers[i]
        beta = torch.sigmoid((maps["regions"] == region).float().mean())
        auxiliary.append(beta * cross_entropy(logits, batch.pids))
    torch.testing.assert_close(losses["regions"], torch.stack(auxiliary).sum())
    pairs = [F.cosine_similarity(a, b).mean() for a, b in combinations(regions.unbind(1), 2)]
    assert len(pairs) == (28 if background else 21)
    torch.testing.assert_close(losses["diversity"], torch.stack(pairs).mean())
    feature = sfb.fuse(regions)
    logits = F.batch_norm(feature, None, None, training=True) @ sfb.classifier.weight.T
    torch.testing.assert_close(losses["id"], cross_entropy(logits, batch.pids))
    assert losses["triplet"] > 0


@pytest.mark.parametrize(("cell", "kind"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_fusion_is_the_last_state_of_pytorchs_network(maps, cell: str, kind: type) -> None:
    sfb = head(cell=cell).eval()
    network = kind(16, 16, batch_first=True)
    network.load_state_dict({f"{name}_l0": value for name, value in sfb.fuse.cell.state_dict().items()})
    fused = network(masked_copies(sfb, maps))[0][:, -1]
    torch.testing.assert_close(sfb.embed(maps), sfb.neck(fused))


def test_order_of_the_regions_matters_to_recurrent_fusion() -> None:
    regions = torch.rand(2, 8, 16)
    fuse = head().fuse
    assert not torch.allclose(fuse(regions), fuse(regions.flip(1)))


def test_concatenation_keeps_the_regions_apart_and_the_width(maps) -> None:
    sfb = head(cell="concat").eval()
    regions = torch.rand(2, 8, 16, requires_grad=True)
    fused = sfb.fuse(regions)
    assert fused.shape == (2, 16)
    fused[:, 4:6].sum().backward()  # two of sixteen numbers for each of eight regions
    assert regions.grad.abs().sum((0, 2)).nonzero()[:, 0].tolist() == [2]
    assert sfb.embed(maps).shape == (8, sfb.dim)
    assert head(cell="concat", background=False).dim == 14


def test_an_empty_region_is_a_vector_of_zeros_and_still_a_step(maps) -> None:
    sfb = head(region_heads=False).eval()
    fused = sfb.embed(maps)
    assert maps["region_vectors"][2, 3].abs().sum() == 0
    assert maps["region_vectors"][1, 3].abs().sum() > 0
    torch.testing.assert_close(fused, sfb.neck(sfb.fuse(maps["region_vectors"])))


def test_background_only_and_one_image(maps) -> None:
    sfb = head().eval()
    lone = {"layer3": maps["layer3"][:1], "regions": torch.zeros(1, 6, 4, dtype=torch.long)}
    assert torch.isfinite(sfb.embed(lone)).all()
    assert sfb.embed(lone).shape == (1, 16)


def test_region_vectors_are_those_after_the_necks_where_there_are_any(maps) -> None:
    for region_heads in (True, False):
        sfb = head(region_heads=region_heads).eval()
        sfb.embed(maps)
        plain = masked_copies(sfb, maps)
        expected = plain / (1 + 1e-5) ** 0.5 if region_heads else plain
        torch.testing.assert_close(maps["region_vectors"], expected)


def test_every_trainable_number_gets_a_gradient(maps, batch) -> None:
    for cell in ("lstm", "gru", "concat"):
        sfb = head(cell=cell)
        torch.stack(list(sfb.losses(maps, batch).values())).sum().backward()
        assert all((p.grad is not None) == p.requires_grad for p in sfb.parameters())
        assert not sfb.neck.bias.requires_grad
        assert not sfb.region_heads.neck.bias.requires_grad
    assert set(head(region_heads=False).losses(maps, batch)) == {"id", "triplet", "diversity"}
