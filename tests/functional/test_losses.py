from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.errors import SemreidError
from semreid.functional import (
    batch_contrast,
    batch_hard_triplet,
    center_loss,
    class_balanced_cross_entropy,
    label_smoothed_cross_entropy,
    region_share,
    semantic_diversity,
    soft_overlap,
)

GOLDEN = np.load(Path(__file__).parent / "golden" / "losses.npz")
FEATURES, LOGITS, PIDS = (torch.from_numpy(GOLDEN[name]) for name in ("features", "logits", "pids"))
REGIONS, PARSING, LABELS = (torch.from_numpy(GOLDEN[name]) for name in ("regions", "parsing_logits", "parsing_labels"))


def naive_triplet(embeddings, pids, margin):
    terms = []
    for anchor, pid in zip(embeddings.double(), pids, strict=True):
        distances = [(anchor - other).square().sum().sqrt() for other in embeddings.double()]
        positive = max(d for d, other in zip(distances, pids, strict=True) if other == pid)
        negative = min(d for d, other in zip(distances, pids, strict=True) if other != pid)
        gap = positive - negative
        terms.append(torch.log1p(gap.exp()) if margin is None else (gap + margin).clamp(min=0))
    return torch.stack(terms).mean()


def naive_contrast(embeddings, pids, temperature, camids=None):
    unit = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    terms = []
    for i, anchor in enumerate(unit):
        against = sum(torch.exp(anchor @ unit[n] / temperature) for n in range(len(pids)) if pids[n] != pids[i])
        for j, other in enumerate(unit):
            if pids[j] == pids[i] and j != i and (camids is None or camids[i] != camids[j]):
                likeness = torch.exp(anchor @ other / temperature)
                terms.append(-torch.log(likeness / (likeness + against)))
    return torch.stack(terms).mean()


def test_golden_values():
    assert label_smoothed_cross_entropy(LOGITS, PIDS).item() == pytest.approx(GOLDEN["label_smoothed_ce"], abs=1e-6)
    hard, soft = batch_hard_triplet(FEATURES, PIDS), batch_hard_triplet(FEATURES, PIDS, margin=None)
    assert hard.item() == pytest.approx(GOLDEN["triplet_hard_margin_03"], abs=1e-6)
    assert soft.item() == pytest.approx(GOLDEN["triplet_soft_margin"], abs=1e-6)
    assert semantic_diversity(REGIONS).item() == pytest.approx(GOLDEN["semantic_diversity"], abs=1e-6)
    parsing = class_balanced_cross_entropy(PARSING, LABELS)
    assert parsing.item() == pytest.approx(GOLDEN["parsing_class_balanced"], abs=1e-6)


def test_label_smoothing_is_cross_entropy_against_the_smoothed_distribution():
    target = torch.nn.functional.one_hot(PIDS, LOGITS.shape[1]) * 0.8 + 0.2 / LOGITS.shape[1]
    expected = -(target * LOGITS.double().log_softmax(1)).sum(1).mean()
    assert label_smoothed_cross_entropy(LOGITS, PIDS, 0.2).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("camids", [None, torch.arange(len(PIDS)) % 3 % 2])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_contrast_value_and_gradient_equal_the_naive_loop(temperature, camids):
    naive, ours = (FEATURES.clone().requires_grad_() for _ in range(2))
    expected, found = (
        loss(each, PIDS, temperature, camids) for loss, each in ((naive_contrast, naive), (batch_contrast, ours))
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    found.backward()
    torch.testing.assert_close(ours.grad, naive.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("pids", [[3, 3, 3, 3], [1, 2, 3, 4], [5]])
def test_contrast_of_a_batch_without_strangers_or_pairs_is_zero(pids):
    embeddings = torch.randn(len(pids), 8, requires_grad=True)
    loss = batch_contrast(embeddings, torch.tensor(pids)) + batch_contrast(
        embeddings, torch.tensor(pids), camids=torch.zeros(len(pids))
    )
    loss.backward()
    assert loss == 0
    assert not embeddings.grad.any()


def test_contrast_is_computed_in_float32_whatever_comes_in():
    with torch.autocast("cpu", torch.bfloat16):
        half = batch_contrast(FEATURES.bfloat16(), PIDS)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(batch_contrast(FEATURES.bfloat16().float(), PIDS).item(), rel=1e-6)


def test_losses_of_several_sets_at_once_are_those_of_each() -> None:
    logits, features = torch.stack((LOGITS, LOGITS.flip(0), 2 * LOGITS)), torch.stack((FEATURES, FEATURES.flip(0)))
    found = label_smoothed_cross_entropy(logits[:, None], PIDS)
    assert found.shape == (3, 1)
    torch.testing.assert_close(found[:, 0], torch.stack([label_smoothed_cross_entropy(each, PIDS) for each in logits]))
    for margin in (0.3, None):
        together, alone = (features.clone().requires_grad_() for _ in range(2))
        losses = batch_hard_triplet(together[None], PIDS, margin)
        assert losses.shape == (1, 2)
        expected = torch.stack([batch_hard_triplet(each, PIDS, margin) for each in alone])
        torch.testing.assert_close(losses[0], expected)
        losses.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(together.grad, alone.grad)


@pytest.mark.parametrize("margin", [0.3, 5.0, None])
def test_triplet_value_and_gradient_equal_the_naive_loop(margin):
    ours, naive = FEATURES.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    loss, expected = batch_hard_triplet(ours, PIDS, margin), naive_triplet(naive, PIDS, margin)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(ours.grad, naive.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("margin", [0.3, None])
def test_triplet_equals_pytorch_metric_learning(margin):
    from pytorch_metric_learning import distances, losses, miners, reducers

    euclid = distances.LpDistance(normalize_embeddings=False)
    miner = miners.BatchHardMiner(distance=euclid)
    loss = losses.TripletMarginLoss(
        margin=margin or 0.0, smooth_loss=margin is None, distance=euclid, reducer=reducers.MeanReducer()
    )
    expected = loss(FEATURES, PIDS, miner(FEATURES, PIDS))
    assert batch_hard_triplet(FEATURES, PIDS, margin).item() == pytest.approx(expected.item(), abs=1e-5)


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_triplet_does_not_depend_on_the_order_of_the_batch_or_the_names_of_the_identities(random):
    order = random.sample(range(len(PIDS)), len(PIDS))
    shuffled = batch_hard_triplet(FEATURES[order], 100 - PIDS[order])
    assert shuffled.item() == pytest.approx(batch_hard_triplet(FEATURES, PIDS).item(), abs=1e-5)


@pytest.mark.parametrize("margin", [0.3, None])
def test_triplet_of_one_identity_is_zero_and_of_equal_embeddings_has_a_finite_gradient(margin):
    embeddings = torch.zeros(4, 3, requires_grad=True)
    assert batch_hard_triplet(embeddings, torch.zeros(4, dtype=torch.long), margin).item() == 0.0
    loss = batch_hard_triplet(embeddings, torch.tensor([0, 0, 1, 1]), margin)
    assert loss.item() == pytest.approx(np.log(2) if margin is None else 0.3)
    loss.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_what_all_embeddings_have_in_common_hides_no_hard_triplet():
    spread = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)) * 0.01
    embeddings, pids = spread + 20 / 128**0.5, torch.arange(64) // 4
    expected = naive_triplet(embeddings, pids, 0.3).item()
    assert batch_hard_triplet(embeddings, pids).item() == pytest.approx(expected, abs=1e-6)


def test_a_lone_image_is_its_own_positive():
    embeddings = torch.tensor([[0.0], [2.0]])
    assert batch_hard_triplet(embeddings, torch.tensor([0, 1]), margin=3.0).item() == 1.0


def test_losses_are_float32_under_autocast():
    centers = FEATURES[:12].clone()
    losses = {
        "label smoothing": lambda: label_smoothed_cross_entropy(LOGITS, PIDS),
        "triplet": lambda: batch_hard_triplet(FEATURES, PIDS),
        "center": lambda: center_loss(FEATURES, PIDS, centers),
        "diversity": lambda: semantic_diversity(REGIONS),
        "parsing": lambda: class_balanced_cross_entropy(PARSING, LABELS),
    }
    for name, loss in losses.items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = loss()
        assert inside.dtype == torch.float32, name
        assert inside.item() == pytest.approx(loss().item(), abs=1e-6), name
    assert batch_hard_triplet(FEATURES.bfloat16(), PIDS).dtype == torch.float32


def test_center_loss_equals_the_naive_loop_and_teaches_the_centers():
    centers = torch.randn(int(PIDS.max()) + 1, FEATURES.shape[1], generator=torch.Generator().manual_seed(0))
    centers.requires_grad_()
    loss = center_loss(FEATURES, PIDS, centers)
    terms = [((f - centers[p]) ** 2).sum() for f, p in zip(FEATURES, PIDS, strict=True)]
    assert loss.item() == pytest.approx(sum(terms).item() / len(PIDS), rel=1e-5)
    loss.backward()
    pulled = centers.detach() - 0.5 * centers.grad * len(PIDS) / torch.bincount(PIDS)[:, None]
    torch.testing.assert_close(pulled[3], FEATURES[PIDS == 3].mean(0), atol=1e-5, rtol=1e-4)


def naive_parsing(logits, labels):
    terms = []
    for label in labels.unique():
        pixels = [
            -logits[b, :, y, x].double().log_softmax(0)[label] for b, y, x in (labels == label).nonzero().tolist()
        ]
        terms.append(torch.stack(pixels).mean())
    return torch.stack(terms).mean()


def test_parsing_value_and_gradient_equal_the_naive_loop_and_class_5_is_absent():
    assert 5 not in LABELS
    ours, naive = PARSING.clone().requires_grad_(), PARSING.clone().requires_grad_()
    loss, expected = class_balanced_cross_entropy(ours, LABELS.to(torch.uint8)), naive_parsing(naive, LABELS)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(ours.grad, naive.grad, atol=1e-7, rtol=1e-4)


def test_parsing_of_halves_with_the_shares_of_the_whole_averages_to_the_whole():
    shares = region_share(LABELS, 8).mean(0)
    halves = [class_balanced_cross_entropy(PARSING[i : i + 2], LABELS[i : i + 2], shares).item() for i in (0, 2)]
    assert sum(halves) / 2 == pytest.approx(class_balanced_cross_entropy(PARSING, LABELS).item(), abs=1e-6)


def naive_diversity(regions):
    pairs = [(i, j) for i in range(regions.shape[1]) for j in range(i)]
    cosine = torch.nn.functional.cosine_similarity
    return torch.stack([cosine(regions[:, i], regions[:, j], dim=1).mean() for i, j in pairs]).mean()


def test_diversity_value_and_gradient_equal_the_loop_over_28_pairs():
    ours, naive = REGIONS.clone().requires_grad_(), REGIONS.clone().requires_grad_()
    loss, expected = semantic_diversity(ours), naive_diversity(naive)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(ours.grad, naive.grad, atol=1e-8, rtol=1e-4)


def test_an_empty_region_lowers_the_diversity_and_the_gradient_stays_finite():
    regions = REGIONS.clone()
    regions[:, 2] = 0
    regions.requires_grad_()
    loss = semantic_diversity(regions)
    assert loss < semantic_diversity(REGIONS)
    assert loss.item() == pytest.approx(naive_diversity(regions).item(), abs=1e-6)
    loss.backward()
    assert torch.isfinite(regions.grad).all()
    assert not regions.grad[:, 2].any()


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
@settings(max_examples=20, deadline=None)
def test_diversity_lies_between_0_and_1_for_features_above_zero_and_is_1_for_equal_directions(seed, count):
    generator = torch.Generator().manual_seed(seed)
    regions = torch.rand(3, count, 5, generator=generator)
    assert 0 <= semantic_diversity(regions).item() <= 1 + 1e-6
    scales = torch.rand(3, count, 1, generator=generator) + 0.1
    assert semantic_diversity(regions[:, :1] * scales).item() == pytest.approx(1, abs=1e-5)
    assert semantic_diversity(torch.eye(count)[None]).item() == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SemreidError, match=r"logits \(..., B, C\)"):
        label_smoothed_cross_entropy(LOGITS, PIDS[:3])
    with pytest.raises(SemreidError, match=r"embeddings \(..., B, D\)"):
        batch_hard_triplet(FEATURES[0], PIDS)
    with pytest.raises(SemreidError, match=r"centers \(N, D\)"):
        center_loss(FEATURES, PIDS, FEATURES[:, :5])
    with pytest.raises(SemreidError, match=r"labels \(B, h, w\)"):
        class_balanced_cross_entropy(PARSING, LABELS[:, :5])
    with pytest.raises(SemreidError, match=r"regions \(B, R, D\)"):
        semantic_diversity(REGIONS[:, :1])


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integer_type_are_rows(dtype: torch.dtype) -> None:
    pids = torch.tensor([1, 0, 1, 1])  # as a mask, these would choose other rows
    embeddings, centers, logits = FEATURES[:4], FEATURES[4:8], LOGITS[:4]
    assert center_loss(embeddings, pids.to(dtype), centers) == (embeddings - centers[pids]).square().sum(1).mean()
    expected = [-(0.9 * row[pid] + 0.1 * row.mean()) for row, pid in zip(logits.log_softmax(1), pids, strict=True)]
    torch.testing.assert_close(label_smoothed_cross_entropy(logits, pids.to(dtype)), torch.stack(expected).mean())
    for loss in (batch_hard_triplet, batch_contrast):
        assert loss(embeddings, pids.to(dtype)) == loss(embeddings, pids)


def test_labels_that_are_no_integers_are_refused() -> None:
    with pytest.raises(SemreidError, match=r"integer targets .* torch.float32 \(8,\)"):
        label_smoothed_cross_entropy(torch.zeros(8, 3), torch.zeros(8))
    with pytest.raises(SemreidError, match="integer pids"):
        center_loss(torch.zeros(8, 3), torch.zeros(8), torch.zeros(4, 3))
    with pytest.raises(SemreidError, match="integer labels"):
        class_balanced_cross_entropy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2), torch.ones(3) / 3)


@pytest.mark.parametrize("unknown", [255, 8, -1])
def test_pixels_of_no_class_count_for_nothing(unknown: int) -> None:
    labels = torch.where(LABELS == 2, unknown, LABELS)
    known = labels != unknown
    terms = PARSING.permute(0, 2, 3, 1).log_softmax(3).gather(3, LABELS.long()[..., None])[..., 0]
    expected = torch.stack([-terms[known & (label == LABELS)].mean() for label in LABELS[known].unique()]).mean()
    found = class_balanced_cross_entropy(PARSING, labels.to(torch.uint8 if unknown > 0 else torch.int16))
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("loss", [batch_hard_triplet, batch_contrast, label_smoothed_cross_entropy])
def test_a_batch_of_nothing_is_refused(loss) -> None:
    with pytest.raises(SemreidError, match="nothing empty"):
        loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def test_soft_overlap_of_certain_scores_is_the_intersection_and_the_union() -> None:
    rng = np.random.default_rng(0)
    found, true = (torch.from_numpy(rng.integers(0, 4, (2, 9, 7))) for _ in range(2))
    shared, joint = soft_overlap(100.0 * torch.nn.functional.one_hot(found, 5).permute(0, 3, 1, 2), true)
    for b in range(2):
        for k in range(5):  # nobody has class 4
            inside = found[b] == k, true[b] == k
            assert shared[b, k] == pytest.approx(int((inside[0] & inside[1]).sum()), abs=1e-4)
            assert joint[b, k] == pytest.approx(int((inside[0] | inside[1]).sum()), abs=1e-4)
    with pytest.raises(SemreidError, match="labels"):
        soft_overlap(torch.zeros(2, 4, 9, 7), true[:, :3])
