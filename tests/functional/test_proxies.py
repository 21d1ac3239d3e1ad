import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semreid.errors import SemreidError
from semreid.functional import camera_contrast, group_proxies, moved_proxies, proxy_contrast


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(12, 5, generator=rng)
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    return features, groups


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_proxies_are_the_mean_directions(batch):
    features, groups = batch
    groups[0] = -1
    found = group_proxies(features, groups, 5).numpy()
    for group in range(4):
        members = features[groups == group].numpy()
        np.testing.assert_allclose(found[group], unit(sum(unit(m) for m in members)), atol=1e-6)
    assert (found[4] == 0).all()


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], [3, 0, 3, 1, 3, 0, 3, 3, 2, 0, 3, 2]])
def test_proxies_move_feature_by_feature(batch, groups):
    features, groups = batch[0], torch.tensor(groups)
    start = F.normalize(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))
    expected = start.numpy().copy()
    for feature, group in zip(features.numpy(), groups.tolist(), strict=True):
        expected[group] = unit(0.3 * expected[group] + 0.7 * unit(feature))
    moved = moved_proxies(start, features.requires_grad_(), groups, 0.3)
    np.testing.assert_allclose(moved.numpy(), expected, atol=1e-6)
    assert not moved.requires_grad
    np.testing.assert_array_equal(moved[4], start[4])


def test_contrast_is_the_softmax_over_proxies(batch):
    features, groups = batch
    proxies = group_proxies(features, groups, 4)
    losses = []
    for feature, group in zip(features.numpy(), groups.tolist(), strict=True):
        scores = [math.exp(float(unit(feature) @ proxy) / 0.1) for proxy in proxies.numpy()]
        losses.append(-math.log(scores[group] / sum(scores)))
    assert proxy_contrast(features, groups, proxies, 0.1).item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("negatives", [1, 3, 50])
def test_camera_contrast_pulls_to_all_cameras_of_a_group(batch, negatives):
    features, groups = batch
    cameras = torch.tensor([0, 1, 2] * 4)
    owners, kinds = torch.arange(4).repeat_interleave(3), groups * 3 + cameras
    proxies = group_proxies(features + 0.1, kinds, 12)
    losses = []
    for feature, group in zip(features.numpy(), groups.tolist(), strict=True):
        scores = [math.exp(float(unit(feature) @ proxy) / 0.2) for proxy in proxies.numpy()]
        own = [s for s, owner in zip(scores, owners.tolist(), strict=True) if owner == group]
        others = sorted((s for s, owner in zip(scores, owners.tolist(), strict=True) if owner != group), reverse=True)
        denominator = sum(own) + sum(others[:negatives])
        losses.append(-np.mean([math.log(s / denominator) for s in own]))
    loss = camera_contrast(features, groups, proxies, owners, 0.2, negatives)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("of", [proxy_contrast, lambda f, g, p: camera_contrast(f, g, p, torch.arange(4))])
def test_gradients_are_finite_and_reach_features_alone(batch, of):
    features, groups = batch
    proxies = group_proxies(features, groups, 4).requires_grad_()
    of(features.requires_grad_(), groups, proxies).backward()
    assert features.grad.isfinite().all()
    assert features.grad.abs().sum() > 0
    assert proxies.grad is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32])
def test_groups_of_any_integer_type_are_rows(batch, dtype):
    features, groups = batch
    groups, proxies = groups.clamp(max=1), group_proxies(features, groups, 4)  # as a mask, they would choose other rows
    for found, expected in (
        (group_proxies(features, groups.to(dtype), 4), group_proxies(features, groups, 4)),
        (moved_proxies(proxies, features, groups.to(dtype)), moved_proxies(proxies, features, groups)),
        (proxy_contrast(features, groups.to(dtype), proxies), proxy_contrast(features, groups, proxies)),
    ):
        assert torch.equal(found, expected)


def test_shapes_that_do_not_fit_are_refused(batch):
    features, groups = batch
    with pytest.raises(SemreidError, match="integer groups .* torch.float32"):
        group_proxies(features, groups.float(), 4)
    with pytest.raises(SemreidError, match=r"got shapes \[\(12, 5\), \(12,\), \(4, 3\)\]"):
        proxy_contrast(features, groups, torch.zeros(4, 3))
    with pytest.raises(SemreidError, match="expected features"):
        group_proxies(features, groups[:3], 4)
    with pytest.raises(SemreidError, match="no proxy"):
        camera_contrast(features, groups, torch.eye(5), torch.tensor([0, 0, 1, 1, 2]))
