import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semreid.errors import SemreidError
from semreid.functional import avg_pool, gem_pool, max_pool, region_pool, region_share, resize_labels


def random_maps(seed, batch=3, channels=4, size=(6, 2), regions=5):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, channels, *size, generator=generator)
    return maps, torch.randint(0, regions, (batch, *size), generator=generator)


def naive_regions(maps, labels, num_regions):
    out = np.zeros((maps.shape[0], num_regions, maps.shape[1]))
    for b in range(maps.shape[0]):
        for r in range(num_regions):
            for c in range(maps.shape[1]):
                inside = maps[b, c][labels[b] == r].numpy()
                out[b, r, c] = inside.max() if inside.size else 0.0
    return out


def test_global_poolings_equal_numpy_in_every_memory_format():
    maps, _ = random_maps(0)
    for layout in (maps, maps.to(memory_format=torch.channels_last)):
        np.testing.assert_allclose(avg_pool(layout), maps.numpy().mean((2, 3)), atol=1e-6)
        np.testing.assert_array_equal(max_pool(layout), maps.numpy().max((2, 3)))


def test_max_pool_sends_the_whole_gradient_to_one_position():
    maps = torch.zeros(1, 1, 2, 2, requires_grad=True)
    max_pool(maps).sum().backward()
    assert sorted(maps.grad.flatten().tolist()) == [0, 0, 0, 1]


def test_gem_lies_between_average_and_maximum_and_reaches_both():
    maps = random_maps(1)[0].abs() + 0.1
    torch.testing.assert_close(gem_pool(maps, p=1.0), avg_pool(maps))
    torch.testing.assert_close(gem_pool(maps, p=30.0), max_pool(maps), rtol=0.1, atol=0)
    expected = (maps.double() ** 3).mean((2, 3)) ** (1 / 3)
    torch.testing.assert_close(gem_pool(maps), expected.float())


@pytest.mark.parametrize("p", [torch.tensor(3.0), torch.tensor([3.0]), torch.full((4,), 3.0)])
def test_gem_learns_its_exponent_whether_shared_or_per_channel(p):
    maps, p = random_maps(2)[0].relu().requires_grad_(), p.requires_grad_()
    pooled = gem_pool(maps, p)
    torch.testing.assert_close(pooled, gem_pool(maps, 3.0))
    pooled.sum().backward()
    assert torch.isfinite(p.grad).all()
    assert p.grad.abs().min() > 0
    assert torch.isfinite(maps.grad).all()


@pytest.mark.parametrize("p", [3.0, 7.5, 8.0, 40.0])
def test_gem_of_zeros_and_of_large_values_is_that_of_double_precision_at_any_exponent(p):
    maps = torch.stack((torch.zeros(4, 4), torch.rand(4, 4), 100 * torch.rand(4, 4)))[None]
    ours, exact = (m.requires_grad_() for m in (maps.clone(), maps.double()))
    exponent, precise = (torch.full((3,), p, dtype=m.dtype, requires_grad=True) for m in (ours, exact))
    found = gem_pool(ours, exponent)
    expected = exact.clamp(min=1e-6).flatten(2).pow(precise[:, None]).mean(2).pow(1 / precise)
    torch.testing.assert_close(found, expected.float())
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(exponent.grad, precise.grad.float(), atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(ours.grad, exact.grad.float(), atol=1e-7, rtol=1e-4)


def test_gem_does_not_overflow_in_half_precision():
    maps = torch.full((1, 1, 2, 2), 300.0, dtype=torch.float16)
    assert gem_pool(maps).item() == pytest.approx(300.0, rel=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.booleans())
@settings(max_examples=40, deadline=None)
def test_region_pool_equals_the_naive_loop_for_any_sign_and_layout(seed, regions, last):
    maps, labels = random_maps(seed, regions=regions)
    layout = maps.to(memory_format=torch.channels_last) if last else maps
    np.testing.assert_allclose(region_pool(layout, labels, 7), naive_regions(maps, labels, 7), atol=1e-6)


def test_region_max_of_features_above_zero_equals_masking_and_global_max():
    maps, labels = random_maps(3)
    maps = maps.relu()
    masked = torch.stack([max_pool(maps * (labels == r)[:, None]) for r in range(8)], dim=1)
    torch.testing.assert_close(region_pool(maps, labels, 8), masked)


@pytest.mark.parametrize("last", [False, True])
def test_region_max_has_the_gradient_of_masked_copies(last):
    maps, labels = random_maps(8, channels=6)
    maps = maps.relu().to(memory_format=torch.channels_last if last else torch.contiguous_format)
    ours, masked = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    weights = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(9))
    copies = torch.stack([max_pool(masked * (labels == r)[:, None]) for r in range(8)], dim=1)
    (region_pool(ours, labels, 8) * weights).sum().backward()
    (copies * weights).sum().backward()
    positive = maps > 0  # below a ReLU, the gradient at 0 goes nowhere
    torch.testing.assert_close(ours.grad * positive, masked.grad * positive)


def test_equal_maxima_share_the_gradient():
    maps = torch.tensor([[[[2.0, 2.0, 1.0, 3.0]]]], requires_grad=True)
    region_pool(maps, torch.tensor([[[0, 0, 0, 1]]]), 2).sum().backward()
    assert maps.grad.flatten().tolist() == [0.5, 0.5, 0, 1]


def test_region_pool_is_differentiable():
    maps, labels = random_maps(4, batch=2, channels=2)
    maps = maps.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: region_pool(m, labels, 6), (maps,))


def test_an_empty_region_gives_zeros_and_no_gradient():
    maps = -torch.ones(1, 2, 2, 2)
    maps.requires_grad_()
    pooled = region_pool(maps, torch.zeros(1, 2, 2, dtype=torch.uint8), 3)
    assert pooled[0].tolist() == [[-1, -1], [0, 0], [0, 0]]
    pooled[:, 1:].sum().backward()
    assert maps.grad.abs().sum() == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_shares_sum_to_one_and_count_positions(seed):
    _, labels = random_maps(seed)
    shares = region_share(labels, 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    expected = np.stack([np.bincount(row.flatten(), minlength=5) / 12 for row in labels.numpy()])
    np.testing.assert_allclose(shares, expected, atol=1e-6)


def test_labels_are_taken_at_the_first_pixel_of_each_cell_in_any_integer_type():
    labels = torch.randint(0, 8, (2, 12, 8), generator=torch.Generator().manual_seed(0))
    expected = labels[:, ::4, ::2]
    for kind in (torch.uint8, torch.int64):
        found = resize_labels(labels.to(kind), (3, 4))
        assert found.dtype == kind
        assert torch.equal(found.long(), expected)
    torch_nearest = torch.nn.functional.interpolate(labels[:, None].float(), (5, 3))[:, 0].long()
    assert torch.equal(resize_labels(labels, (5, 3)), torch_nearest)
    assert torch.equal(resize_labels(resize_labels(labels, (6, 4)), (3, 2)), resize_labels(labels, (3, 2)))


def test_bilinear_labels_are_opencvs_and_make_up_classes():
    import cv2

    labels = torch.zeros(1, 12, 8, dtype=torch.uint8)
    labels[:, 5:] = 7
    found = resize_labels(labels, (6, 4), "bilinear")
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found[0], cv2.resize(labels[0].numpy(), (4, 6), interpolation=cv2.INTER_LINEAR))
    assert set(found.unique().tolist()) == {0, 4, 7}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("strange", [4, 255, -1, 10**6])
def test_a_label_of_no_region_is_no_region_of_any_image(dtype, strange):
    maps, labels = random_maps(11, regions=4)
    labels = torch.where(labels == 1, torch.tensor(strange), labels).to(dtype)
    np.testing.assert_allclose(region_pool(maps, labels, 4), naive_regions(maps, labels, 4), atol=1e-6)
    maps.requires_grad_()
    region_pool(maps, labels, 4).sum().backward()
    outside = (labels < 0) | (labels >= 4)
    assert not maps.grad.permute(0, 2, 3, 1)[outside].any()


@pytest.mark.parametrize("p", [0, 0.0, -1.0, float("nan")])
def test_an_exponent_that_is_not_positive_has_no_mean(p):
    with pytest.raises(SemreidError, match="exponent"):
        gem_pool(torch.ones(1, 1, 2, 2), p)


def test_misfits_are_refused():
    maps, labels = random_maps(6)
    with pytest.raises(SemreidError, match=r"\(B, C, h, w\)"):
        avg_pool(maps[0])
    with pytest.raises(SemreidError, match="resize the label map"):
        region_pool(maps, labels[:, :3], 5)
    with pytest.raises(SemreidError, match="integer labels"):
        region_share(labels.float(), 5)
    with pytest.raises(SemreidError, match="integer labels"):
        resize_labels(labels.float(), (2, 2))
