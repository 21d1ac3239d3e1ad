from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from semreid.atlas import CHARTS, Part, part_map, valid_texels
from semreid.people import patterns
from semreid.people.garments import Outfit, Upper
from semreid.people.palette import colour_name, srgb
from semreid.people.patterns import WEAVES, Fabric, stripes, weave
from semreid.people.tailor import paint
from semreid.people.wardrobe import RELATIONS, attributes, draw_outfit, folds, relative

SEEDS = range(200)


@pytest.fixture(scope="module")
def outfits() -> list[Outfit]:
    return [draw_outfit(np.random.default_rng((3, seed))) for seed in SEEDS]


@pytest.fixture(scope="module")
def textures(outfits):
    return np.stack([paint(outfit) for outfit in outfits])


def lab(rgb):
    """CIELAB of 8-bit sRGB (..., 3) by OpenCV: an oracle independent of our conversion."""
    flat = np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255
    return cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).reshape(np.shape(rgb))


def difference(one, other):
    return np.linalg.norm(lab(one) - lab(other), axis=-1)


def window(texture, name):
    return texture[CHARTS[name].window]


def row(name, t):
    return min(int(t * CHARTS[name].height), CHARTS[name].height - 1)


def changed(one, other):
    return {field.name for field in fields(Outfit) if getattr(one, field.name) != getattr(other, field.name)}


def test_colours_agree_with_opencv():
    rng = np.random.default_rng(0)
    for colour in rng.uniform(0.05, 0.95, (200, 3)).astype(np.float32):
        light, a, b = cv2.cvtColor(colour[None, None], cv2.COLOR_RGB2LAB)[0, 0].tolist()
        np.testing.assert_allclose(srgb((light, a, b)), colour, atol=4e-3)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((25, 25, 28), "black"), ((128, 128, 128), "gray"), ((235, 235, 230), "white"), ((190, 30, 40), "red"),
        ((25, 35, 75), "blue"), ((60, 90, 130), "blue"), ((40, 120, 60), "green"), ((240, 210, 50), "yellow"),
        ((245, 140, 30), "orange"), ((100, 60, 30), "brown"), ((190, 165, 130), "beige"), ((240, 150, 180), "pink"),
        ((110, 50, 140), "purple"),
    ],
)  # fmt: skip
def test_colours_have_the_names_people_give_them(rgb, name):
    assert colour_name(tuple(lab(np.array(rgb)).tolist())) == name


def test_a_seed_decides_outfit_texture_and_folds(outfits, textures):
    again = draw_outfit(np.random.default_rng((3, 11)))
    assert again == outfits[11]
    np.testing.assert_array_equal(paint(again), textures[11])
    first, second = (folds(again, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_textures_are_8_bit_and_gutters_continue_the_nearest_chart(textures):
    texture = textures[0]
    assert texture.shape == (256, 256, 3)
    assert texture.dtype == np.uint8
    rows, columns = np.nonzero(valid_texels())
    for y, x in np.argwhere(~valid_texels())[::997]:
        away = (rows - y) ** 2 + (columns - x) ** 2
        near = np.flatnonzero(away <= (np.sqrt(away.min()) + 0.5) ** 2)  # the distance transform is approximate
        colours = texture[rows[near], columns[near]]
        assert (colours == texture[y, x]).all(1).any()


def test_albedo_stays_within_that_of_real_cloth(textures):
    values = textures[::8] / 255.0
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)[:, valid_texels()]
    assert linear.min() > 0.004
    assert linear.max() < 0.92
    assert 0.05 < np.median(linear) < 0.3


def test_seeds_give_different_people_with_a_wide_spread(textures):
    small = np.stack([lab(cv2.resize(texture, (32, 32), interpolation=cv2.INTER_AREA)) for texture in textures])
    flat = small.reshape(len(small), -1)
    pairs = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(-1) * 3)[np.triu_indices(len(flat), 1)]
    assert pairs.min() > 4  # nobody looks like somebody else
    assert 15 < np.median(pairs) < 45
    assert np.quantile(pairs, 0.95) > 1.3 * np.median(pairs) > 1.6 * np.quantile(pairs, 0.05)


def test_attributes_are_spread(outfits):
    def entropy(name):
        _, counts = np.unique([attributes(outfit)[name] for outfit in outfits], return_counts=True)
        share = counts / counts.sum()
        return -(share * np.log2(share)).sum()

    least = {
        "gender": 0.95,
        "sleeve": 0.85,
        "upper": 2.8,
        "upper_colour": 2.6,
        "lower_colour": 1.7,
        "upper_pattern": 1.8,
    }
    assert {name: entropy(name) for name in least if entropy(name) < least[name]} == {}


def test_outfits_do_not_repeat():
    drawn = [draw_outfit(np.random.default_rng((4, seed))) for seed in range(1500)]
    looks = {(o.upper.fabric.base, o.lower.fabric.base, o.feet.colour, o.head.skin, o.head.hair) for o in drawn}
    assert len(looks) == len(drawn)


def test_upper_garments_are_more_colourful_than_lower_ones(outfits):
    def vivid(part):
        return np.mean([np.hypot(*getattr(outfit, part).fabric.base[1:]) > 30 for outfit in outfits])

    assert vivid("upper") > 1.8 * vivid("lower")


def test_charts_of_absent_bags_are_constant_grey(outfits, textures):
    for outfit, texture in zip(outfits[:60], textures, strict=False):
        for name, worn in (("backpack", outfit.backpack is not None), ("bag", outfit.bag is not None)):
            constant = bool((window(texture, name) == 128).all())
            assert constant == (not worn)


def test_hands_and_faces_are_of_one_skin(outfits, textures):
    for outfit, texture in zip(outfits, textures, strict=True):
        hand = np.median(window(texture, "left_hand").reshape(-1, 3), 0)
        assert difference(hand, srgb(outfit.head.skin) * 255) < 4
        if outfit.head.mask is None and outfit.head.beard == 0 and outfit.head.scarf is None:
            cheek = window(texture, "head")[row("head", 0.47), 52 - 8]
            assert difference(cheek, hand) < 12


def test_sleeves_trousers_and_skirts_end_where_the_silhouette_says(outfits, textures):
    for outfit, texture in zip(outfits, textures, strict=True):
        skin, shape = srgb(outfit.head.skin) * 255, outfit.silhouette
        if shape.sleeve_end < 0.8:
            bare = window(texture, "right_arm")[row("right_arm", shape.sleeve_end + 0.05) : row("right_arm", 0.9)]
            assert np.median(difference(bare.reshape(-1, 3), skin)) < 5
        end = max(shape.trouser_end, shape.skirt_end)
        if end < 0.6 and (outfit.feet.sock is None or outfit.feet.sock_top > end) and outfit.feet.shaft > 0.75:
            bare = window(texture, "left_leg")[row("left_leg", end + 0.03) : row("left_leg", 0.65)]
            assert np.median(difference(bare.reshape(-1, 3), skin)) < 6


def test_attributes_agree_with_the_paint(outfits, textures):
    for outfit, texture in zip(outfits, textures, strict=True):
        named = attributes(outfit)
        if outfit.lower.fabric.kind == "plain" and outfit.lower.end > 0.4 and not outfit.lower.stripe:
            thigh = window(texture, "left_leg")[row("left_leg", 0.15) : row("left_leg", 0.35)]
            painted = np.median(thigh.reshape(-1, 3), 0)
            assert difference(painted, srgb(outfit.lower.fabric.base) * 255) < 8
        assert named["backpack"] == ("yes" if outfit.silhouette.backpack else "no")
        assert named["hat"] == ("no" if outfit.silhouette.hat == "none" else "yes")
        assert (named["lower"] == "dress") == (outfit.silhouette.skirt_end > 0)
        assert (named["sleeve"] == "long") == (outfit.silhouette.sleeve_end > 0.6)


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_relatives_share_what_they_claim(outfits, name):
    for seed, outfit in enumerate(outfits[:60]):
        other = RELATIONS[name](outfit, np.random.default_rng(seed))
        differs = changed(outfit, other)
        assert other != outfit
        if name in ("upper", "lower"):
            assert name not in differs
            assert "head" in differs
        elif name == "clothes":
            assert not differs & {"upper", "lower", "feet"}
        else:
            dressed = {"upper", "lower"} if outfit.lower.kind == "dress" else {"upper"}
            assert differs <= {"bag": {"backpack"}, "feet": {"feet"}, "head": {"head"}}.get(name, dressed)


def test_relatives_look_different_but_less_so_than_strangers(outfits, textures):
    def apart(one, other):
        return difference(one[valid_texels()], other[valid_texels()]).mean()

    rng = np.random.default_rng(1)
    kin = [
        apart(texture, paint(relative(outfit, rng))) for outfit, texture in zip(outfits[:80], textures, strict=False)
    ]
    strangers = [apart(textures[i], textures[i + 1]) for i in range(80)]
    assert np.mean(kin) < 0.75 * np.mean(strangers)
    assert min(kin) > 0


def test_prints_are_on_one_side_only(outfits):
    printed = [outfit for outfit in outfits if [one.back for one in outfit.upper.prints] == [False]][:5]
    assert len(printed) == 5
    for outfit in printed:
        bare = replace(outfit, upper=replace(outfit.upper, prints=()))
        differs = (window(paint(outfit), "torso") != window(paint(bare), "torso")).any(-1).any(0)
        assert differs[26:78].any()
        assert not differs[:20].any()
        assert not differs[84:].any()


def test_straps_run_over_the_chest_where_there_is_a_bag(outfits):
    carrying = [o for o in outfits if o.backpack is not None and o.head.style != "long" and o.head.scarf is None][:10]
    for outfit in carrying:
        before, after = (window(paint(replace(outfit, backpack=bag)), "torso") for bag in (None, outfit.backpack))
        differs = (before != after).any(-1)
        assert differs[30, 52:80].any()
        assert differs[30, 24:52].any()
        assert not differs[80:].any()


def test_folds_run_across_the_seam_of_the_torso(outfits):
    torso = window(folds(outfits[0], np.random.default_rng(2)), "torso")
    within = np.abs(np.diff(torso, axis=1)).mean()
    assert np.abs(torso[:, 0] - torso[:, -1]).mean() < 2.5 * within


def test_folds_shade_cloth_and_spare_skin(outfits):
    outfit = next(o for o in outfits if 0 < o.upper.sleeve < 0.5 and o.lower.end > 0.9 and o.upper.hood != "up")
    shading = folds(outfit, np.random.default_rng(0))
    assert shading.shape == (256, 256)
    assert shading.dtype == np.float32
    assert 0.75 <= shading.min() < 0.97
    assert 1.03 < shading.max() <= 1.2
    assert (window(shading, "left_hand") == 1).all()
    assert (window(shading, "left_arm")[row("left_arm", 0.6) :] == 1).all()
    assert window(shading, "torso").std() > 0.01
    assert abs(shading[part_map() == Part.TORSO].mean() - 1) < 0.03


@pytest.mark.parametrize("kind", sorted(WEAVES))
def test_weaves_close_at_the_seam_of_the_torso(kind):
    accents = ((80.0, 0.0, 0.0), (40.0, 60.0, 20.0), (50.0, -40.0, 20.0))[: WEAVES[kind][1]]
    cloth = Fabric((30.0, 5.0, -20.0), kind, accents, scale=0.09, seed=4, grain=0.0)
    down = np.linspace(0, 0.6, 60, dtype=np.float32)[:, None]
    around = np.array([[-0.5, 0.5]], np.float32)
    left, right = weave(cloth, around, down).transpose(1, 0, 2)
    np.testing.assert_allclose(left, right, atol=0.02)


def test_stripes_cover_their_share():
    place = np.linspace(0, 1, 2000, endpoint=False, dtype=np.float32)
    assert stripes(place, 0.05, 0.3).mean() == pytest.approx(0.3, abs=0.01)


def test_long_coats_hang_and_tucked_shirts_do_not():
    outfit = draw_outfit(np.random.default_rng(0))
    cloth = Fabric((20.0, 0.0, 0.0))
    coat = replace(outfit, upper=Upper("coat", cloth, 1.0, hem=1.9))
    shirt = replace(outfit, upper=Upper("shirt", cloth, 1.0, hem=0.65))
    assert coat.silhouette.hem > 0.8
    assert shirt.silhouette.hem == 0


@pytest.mark.parametrize("kind", WEAVES)
def test_weaves_are_finite_where_a_repeat_ends(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "noise", lambda x, *_: np.zeros_like(x))
    cloth = Fabric((50, 0, 0), kind, accents=((80, 0, 0),) * 4, scale=0.06)
    y = np.array([[-1e-10], [0.0], [1e-10], [0.03]], np.float32)  # the first one's remainder rounds to a whole repeat
    with np.errstate(all="raise", under="ignore"):
        painted = weave(cloth, np.zeros((1, 1), np.float32), y)
    assert np.isfinite(painted).all()
    assert abs(painted[0] - painted[1]).max() < 0.01
