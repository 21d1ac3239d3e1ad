import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semreid.data.batch import Batch
from semreid.errors import SemreidError
from semreid.models.heads import Multistage
from semreid.models.heads.multistage import Mixing, Pass

PIDS = torch.tensor([2, 0, 1, 0, 3, 2, 1])  # no groups, no even number


def make_head(dims: tuple[int, ...] = (8, 8, 8), **mixing: object) -> Multistage:
    torch.manual_seed(0)
    return Multistage("layer4", 16, 4, dims=dims, mixing=Mixing(**mixing))


def make_maps(count: int = 7) -> dict[str, Tensor]:
    return {"layer4": torch.rand(count, 16, 8, 4, generator=torch.Generator().manual_seed(1))}


def make_batch(pids: Tensor = PIDS) -> Batch:
    return Batch(images=torch.zeros(len(pids), 3, 128, 64), pids=pids, camids=pids)


def run(head: Multistage, maps: dict[str, Tensor] | None = None, pids: Tensor = PIDS) -> list[Pass]:
    torch.manual_seed(7)
    return list(head.passes(maps or make_maps(), pids, pids))


def released_cam(seen: Pass, pids: Tensor) -> Tensor:
    """As published: a backward pass through everything, seen by a hook on the map."""
    gradients: list[Tensor] = []
    hook = seen.view.maps.register_hook(gradients.append)
    score = torch.zeros(())
    for image, pid in enumerate(pids):
        score = score + seen.logits[image, pid]
    score.backward(retain_graph=True)
    hook.remove()
    weights = gradients[0].mean(dim=(2, 3), keepdim=True)
    return (weights * seen.view.maps).sum(1).relu().detach()


@pytest.mark.parametrize("unit", [False, True])
def test_triplet_losses_of_features_as_they_are_or_of_unit_length(unit: bool) -> None:
    torch.manual_seed(0)
    head = Multistage("layer4", 16, 4, dims=(8,), unit_triplet=unit)
    (seen,) = head.passes(make_maps(), PIDS)
    lengths = seen.feature.norm(dim=1, keepdim=True)
    features = (seen.feature / lengths if unit else seen.feature).tolist()
    apart = [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 for b in features] for a in features]
    terms = []
    for row, pid in zip(apart, PIDS, strict=True):
        furthest = max(d for d, other in zip(row, PIDS, strict=True) if other == pid)
        nearest = min(d for d, other in zip(row, PIDS, strict=True) if other != pid)
        terms.append(math.log1p(math.exp(furthest - nearest)))
    loss = head.losses(make_maps(), make_batch())["triplet_1"]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


def test_cams_are_those_of_the_form_with_hooks_and_leave_the_gradients_alone() -> None:
    head = make_head()
    maps = {name: m.requires_grad_() for name, m in make_maps().items()}
    passes = run(head, maps)
    assert len(passes) == 3
    cams = [seen.cam(PIDS) for seen in passes]
    assert all(p.grad is None for p in head.parameters())
    for seen, cam in zip(passes, cams, strict=True):
        assert not cam.requires_grad
        assert cam.amax() > 0
        torch.testing.assert_close(cam, released_cam(seen, PIDS), rtol=1e-4, atol=1e-8)
    assert all(p.grad is not None for p in head.parameters())  # those are the traces that it does not leave


def test_each_stage_loses_the_blocks_that_the_one_before_relied_on() -> None:
    head = make_head()
    first, second, third = run(head)
    shared = head.block(make_maps()["layer4"])
    for before, after in ((first, second), (second, third)):
        view, cam = after.view, before.cam(PIDS)
        for image, (replaced, negative) in enumerate(zip(view.replaced, view.negatives.tolist(), strict=True)):
            assert PIDS[negative] != PIDS[image]
            assert replaced.sum() == 3
            assert cam[image][replaced].min() >= cam[image][~replaced].max()
            expected = torch.where(replaced, shared[negative], shared[image])
            torch.testing.assert_close(view.maps[image], expected)
            assert (view.owners[image] == torch.where(replaced, PIDS[negative], PIDS[image])).all()
    assert first.view.replaced is None
    assert not torch.equal(second.view.replaced, third.view.replaced)


def test_mixing_goes_on_from_the_mixed_map_if_asked_to() -> None:
    _, second, third = run(make_head(cumulative=True))
    kept = second.view.replaced & ~third.view.replaced
    assert kept.any()
    at = kept[:, None].expand_as(third.view.maps)
    assert torch.equal(third.view.maps[at], second.view.maps[at])
    assert torch.equal(third.view.owners[kept], second.view.owners[kept])
    _, second, third = run(make_head())
    kept = second.view.replaced & ~third.view.replaced
    assert torch.equal(third.view.owners[kept], PIDS[:, None, None].expand(-1, 8, 4)[kept])


def test_losses_by_hand() -> None:
    head = make_head()
    torch.manual_seed(7)
    losses = head.losses(make_maps(), make_batch())
    assert list(losses) == ["id_1", "triplet_1", "id_2", "triplet_2", "id_3", "triplet_3"]
    for number, seen in enumerate(run(head), 1):
        target = 0.9 * F.one_hot(PIDS, 4) + 0.1 / 4
        expected = -(target * seen.logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(losses[f"id_{number}"], expected)
        distances = torch.cdist(seen.feature, seen.feature)
        same = PIDS[:, None] == PIDS
        gaps = distances.masked_fill(~same, 0).amax(1) - distances.masked_fill(same, 99).amin(1)
        torch.testing.assert_close(losses[f"triplet_{number}"], gaps.exp().add(1).log().mean())


@pytest.mark.parametrize("cumulative", [False, True])
def test_mixed_labels_share_the_identity_loss_by_area(cumulative: bool) -> None:
    head = make_head(labels=True, cumulative=cumulative)
    torch.manual_seed(7)
    losses = head.losses(make_maps(), make_batch())
    for number, seen in enumerate(run(head), 1):
        shares = torch.stack([(seen.view.owners == pid).float().mean((1, 2)) for pid in range(4)], 1)
        expected = -((0.9 * shares + 0.1 / 4) * seen.logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(losses[f"id_{number}"], expected)
        if number == 2:
            assert (shares.gather(1, PIDS[:, None]) == 1 - 0.09375).all()


def test_gradients_add_up_over_batches() -> None:
    head = make_head()

    def step(*seeds: int) -> list[Tensor]:
        head.zero_grad()
        for seed in seeds:
            torch.manual_seed(seed)
            torch.stack(list(head.losses(make_maps(), make_batch()).values())).sum().backward()
        return [p.grad.clone() for p in head.parameters()]

    for both, first, second in zip(step(1, 2), step(1), step(2), strict=True):
        torch.testing.assert_close(both, first + second)


def test_gradient_reaches_the_negative_unless_it_is_detached() -> None:
    for detach in (False, True):
        head = make_head(detach=detach).eval()  # normalisation would join the images
        maps = make_maps()["layer4"].requires_grad_()
        second = run(head, {"layer4": maps})[1]
        (gradient,) = torch.autograd.grad(second.feature[0].sum(), maps)
        touched = gradient.abs().sum((1, 2, 3)) > 0
        assert touched[0]
        assert touched[1:].any() != detach


def test_a_frozen_trunk_and_losses_that_nobody_learns_from() -> None:
    losses = make_head().losses(make_maps(), make_batch())
    assert losses["id_3"].requires_grad
    with torch.no_grad():
        assert not make_head().losses(make_maps(), make_batch())["id_3"].isnan()


def test_under_autocast() -> None:
    head = make_head()
    with torch.autocast("cpu", torch.bfloat16):
        losses = head.losses(make_maps(), make_batch())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_stages_agree_on_nothing_to_paste_where_all_images_show_one_person() -> None:
    alone = torch.zeros(5, dtype=torch.long)
    _, second, third = run(make_head(), make_maps(5), alone)
    for seen in (second, third):
        assert seen.view.negatives.tolist() == list(range(5))
        torch.testing.assert_close(seen.view.maps, make_head().block(make_maps(5)["layer4"]))


def test_a_stage_that_nothing_speaks_for_still_loses_its_share() -> None:
    head = make_head()
    for parameter in head.classifiers.parameters():
        parameter.data.zero_()
    first, second, _ = run(head)
    assert not first.cam(PIDS).any()
    assert (second.view.replaced.flatten(1).sum(1) == 3).all()
    assert len(second.view.replaced.unique(dim=0)) > 1


def test_the_hardest_negative_is_the_nearest_to_the_stage_before() -> None:
    first, second, _ = run(make_head(negative="hardest"))
    distances = torch.cdist(first.feature, first.feature).masked_fill(PIDS[:, None] == PIDS, torch.inf)
    assert torch.equal(second.view.negatives, distances.argmin(1))


@pytest.mark.parametrize(("kind", "share"), [("cutout", 3 / 32), ("cutmix", 3 / 32), ("batchdrop", 3 / 8)])
def test_what_is_replaced_at_random(kind: str, share: float) -> None:
    _, second, _ = run(make_head(kind=kind))
    replaced, negatives = second.view.replaced, second.view.negatives
    assert (replaced.float().mean((1, 2)) == share).all()
    assert (len(replaced.unique(dim=0)) == 1) == (kind == "batchdrop")
    if kind == "cutmix":
        assert (PIDS[negatives] != PIDS).all()
    else:
        assert negatives is None
        assert not second.view.maps.permute(0, 2, 3, 1)[replaced].any()


@pytest.mark.parametrize("kind", ["hardmix", "cutmix", "cutout", "batchdrop"])
def test_a_map_of_one_position(kind: str) -> None:
    _, second, _ = run(make_head(kind=kind), {"layer4": torch.rand(7, 16, 1, 1)})
    assert second.view.replaced.all()


def test_embedding_is_that_of_whole_maps_and_draws_nothing() -> None:
    head = make_head().eval()
    maps = make_maps()
    state = torch.get_rng_state()
    embedding = head.embed(maps)
    assert torch.equal(torch.get_rng_state(), state)
    shared = head.block(maps["layer4"])
    parts = [maps["layer4"].mean((2, 3)), shared.amax((2, 3)), shared.amax((2, 3))]
    expected = torch.cat([reduce(part) for reduce, part in zip(head.reductions, parts, strict=True)], 1)
    torch.testing.assert_close(embedding, expected)
    assert embedding.shape == (7, head.dim)
    assert (embedding >= 0).all()


def test_one_stage_has_no_bottleneck() -> None:
    head = make_head(dims=(8,))
    assert set(head.losses(make_maps(), make_batch())) == {"id_1", "triplet_1"}
    assert head.block is None
    assert head.eval().embed(make_maps()).shape == (7, 8)


@pytest.mark.parametrize(("options", "message"), [({"blocks": 33}, "cannot replace 33"), ({"kind": "cutout"}, "mixed")])
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(SemreidError, match=message):
        make_head(labels=True, **options)


@pytest.mark.parametrize("kind", ["hardmix", "batchdrop"])
def test_losses_in_inference_mode_are_those_outside(kind: str) -> None:
    head = make_head(kind=kind)
    torch.manual_seed(7)
    expected = head.losses(make_maps(), make_batch())
    with torch.inference_mode():
        torch.manual_seed(7)
        found = head.losses(make_maps(), make_batch())
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss.detach())
