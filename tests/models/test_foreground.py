from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.export import export_model
from semreid.models.card import read_card
from semreid.models.foreground import Foreground, white_balanced
from semreid.models.heads import REGIONS
from semreid.models.loading import load_embedder, load_model, parser_arguments
from semreid.models.model import ReIDModel
from semreid.models.zoo import create_model
from semreid.training.build import build_model
from semreid.training.loop import train
from semreid.training.recipe import Recipe, parse_recipe
from semreid.verification.calibrate import choose_split
from tests.conftest import draw_figure, draw_mask, write_run
from tests.training.test_loop import TINY


def recipe(name: str = "baseline", **model: object) -> Recipe:
    settings = {"name": name, "trunk": "resnet18", "width": 0.125, "weights": "scratch"} | model
    return parse_recipe({**TINY, "model": settings, "schedule": {"epochs": 1, "warmup_epochs": 0}})


@pytest.fixture(scope="module")
def parser(figure_data: ReIDDataset, figure_masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a parser that has seen little."""
    run = tmp_path_factory.mktemp("parser") / "run"
    plan = recipe("parser", last_stride=2)
    train(replace(plan, schedule=replace(plan.schedule, epochs=8)), figure_data, run, annotations=figure_masks)
    return run


@pytest.fixture
def model(parser: Path) -> ReIDModel:
    return build_model(recipe(foreground=str(parser)), 3).eval()


def crops(count: int = 4) -> torch.Tensor:
    return torch.stack([torch.from_numpy(draw_figure(pid, 1, 0)) for pid in range(count)]).permute(0, 3, 1, 2)


def without_foreground(model: ReIDModel) -> ReIDModel:
    plain = ReIDModel(model.trunk, dict(model.heads), model.size)  # type: ignore[arg-type]
    return plain.eval()


def person_share(background: torch.Tensor) -> torch.Tensor:
    """The odds to the power of 8."""
    return 1 / (1 + (background / (1 - background)) ** 8)


def test_the_trunk_sees_what_a_parser_takes_for_the_person(model: ReIDModel, parser: Path) -> None:
    images = crops()
    background = load_model(parser).parse_batch(images)[:, REGIONS.index("background"), None]
    assert background.std() > 0.1
    person = person_share(background)
    faded = images / 255 * person + model.mean * (1 - person)
    np.testing.assert_allclose(model.embed_batch(images), without_foreground(model).embed_batch(faded), atol=1e-5)


def test_known_parts_are_believed(model: ReIDModel) -> None:
    images = crops()
    regions = torch.stack([torch.from_numpy(draw_mask(pid, 1, 0)) for pid in range(4)])
    faded = torch.where((regions > 0)[:, None], images / 255, model.mean)
    expected = without_foreground(model).maps(faded)["layer4"]
    torch.testing.assert_close(model.maps(images, regions)["layer4"], expected, atol=1e-5, rtol=1e-4)
    noisy = torch.where((regions > 0)[:, None], images, torch.randint(0, 256, images.shape, dtype=torch.uint8))
    torch.testing.assert_close(model.maps(noisy, regions)["layer4"], expected, atol=1e-5, rtol=1e-4)


def test_the_parser_works_at_the_size_it_learned(parser: Path) -> None:
    plan = recipe(foreground=str(parser))
    larger = build_model(replace(plan, data=replace(plan.data, height=128, width=64)), 3).eval()
    assert larger.foreground is not None
    assert larger.foreground.size == (64, 32)
    images = torch.nn.functional.interpolate(crops().float(), (128, 64)) / 255
    background = load_model(parser).parse_batch(crops().float() / 255)[:, :1]
    person = person_share(torch.nn.functional.interpolate(background, (128, 64), mode="bilinear"))
    faded = images * person + larger.mean * (1 - person)
    np.testing.assert_allclose(larger.embed_batch(images), without_foreground(larger).embed_batch(faded), atol=1e-5)


@pytest.mark.parametrize("name", ["baseline", "magnifiernet"])
def test_training_leaves_the_parser_as_it_is(
    name: str, parser: Path, figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    plan = recipe(name, foreground=str(parser))
    trained = train(plan, figure_data, tmp_path / "run", annotations=figure_masks)
    before, after = load_model(parser).state_dict(), trained.state_dict()
    for part, where in (("trunk", "trunk"), ("parser", "heads.parser")):
        names = [n for n in after if n.startswith(f"foreground.{part}.")]
        assert names
        for n in names:
            assert torch.equal(after[n].cpu(), before[n.replace(f"foreground.{part}", where)]), n
    assert not torch.equal(after["trunk.conv1.weight"].cpu(), build_model(recipe(name), 6).trunk.conv1.weight)
    again = load_model(tmp_path / "run")
    assert read_card(tmp_path / "run").model["foreground"] == parser_arguments(parser)
    np.testing.assert_array_equal(again.embed_batch(crops()), trained.embed_batch(crops()))
    assert again.fingerprint == trained.fingerprint != without_foreground(again).fingerprint


def test_the_parser_works_in_training_only_where_there_are_no_masks(
    parser: Path, figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    background = Foreground._background
    monkeypatch.setattr(Foreground, "_background", lambda *args: asked.append(1) or background(*args))
    plan = recipe(foreground=str(parser))
    train(plan, figure_data, tmp_path / "with", annotations=figure_masks)
    assert not asked
    train(plan, figure_data, tmp_path / "without")
    assert asked


def test_it_starts_from_a_run_with_and_from_one_without(parser: Path, figure_data: ReIDDataset, tmp_path: Path) -> None:
    for name, start in (("without", recipe()), ("with", recipe(foreground=str(parser)))):
        train(start, figure_data, tmp_path / name)
        built = build_model(recipe(foreground=str(parser), weights=str(tmp_path / name)), 6)
        assert built.foreground is not None
        parsed = load_model(parser).trunk.conv1.weight
        assert torch.equal(built.foreground.trunk.conv1.weight.contiguous(), parsed.contiguous())
        assert torch.equal(built.trunk.conv1.weight, load_model(tmp_path / name).trunk.conv1.weight)


def test_an_exported_model_fades_the_background_too(parser: Path, figure_data: ReIDDataset, tmp_path: Path) -> None:
    model = train(recipe(foreground=str(parser)), figure_data, tmp_path / "run").eval()
    images = [draw_figure(pid, 1, 0) for pid in range(4)]
    files = export_model(tmp_path / "run", tmp_path / "model.onnx").files
    found = load_embedder(files[0]).embed(images)
    np.testing.assert_allclose(found, model.embed(images), atol=1e-4)
    for_others = export_model(tmp_path / "run", tmp_path / "normalised.onnx", float_input=True).files[0]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    session = onnxruntime.InferenceSession(str(for_others), providers=["CPUExecutionProvider"])
    vectors = session.run(["embedding"], {"images": ((pixels - model.mean) / model.std).numpy()})[0]
    np.testing.assert_allclose(vectors, model.embed(images), atol=1e-4)
    assert not np.allclose(found, without_foreground(model).embed(images), atol=1e-2)


def test_the_background_tells_the_cast() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((3, 3, 16, 8), generator=generator) * 0.7
    background = torch.rand((3, 1, 16, 8), generator=generator)
    found = white_balanced(images, background)
    for image, where, balanced in zip(images.double(), background.double(), found, strict=True):
        total, weight = torch.zeros(3, dtype=torch.double), 0.0
        for y in range(16):
            for x in range(8):
                total += where[0, y, x] * image[:, y, x] ** 6
                weight += float(where[0, y, x])
        colour = ((total / 128 + 0.01 * 0.5**6) / (weight / 128 + 0.01)) ** (1 / 6)
        expected = (image * (colour.mean() / colour)[:, None, None]).clamp(0, 1)
        torch.testing.assert_close(balanced.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(white_balanced(images, torch.zeros_like(background)), images)


def test_two_cameras_agree_on_the_colour_of_a_person() -> None:
    scene = torch.full((1, 3, 16, 8), 0.5)
    scene[:, :, 4:12, 2:6] = torch.tensor([0.4, 0.1, 0.2]).view(1, 3, 1, 1)
    background = torch.ones(1, 1, 16, 8)
    background[:, :, 4:12, 2:6] = 0
    casts = [torch.tensor(cast).view(1, 3, 1, 1) for cast in ((1.1, 1.0, 0.9), (0.9, 1.0, 1.1))]
    warm, cool = (white_balanced(scene * cast, background) for cast in casts)
    assert (scene * (casts[0] - casts[1])).abs().max() > 0.07
    torch.testing.assert_close(warm, cool, atol=0.005, rtol=0)


def test_a_model_balances_by_what_its_parser_takes_for_background(parser: Path) -> None:
    model = build_model(recipe(foreground=str(parser), white_balance=True), 3).eval()
    images = crops() * torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1)
    background = 1 - person_share(load_model(parser).parse_batch(images / 255)[:, REGIONS.index("background"), None])
    seen = white_balanced(images / 255, background) * (1 - background) + model.mean * background
    np.testing.assert_allclose(model.embed_batch(images / 255), without_foreground(model).embed_batch(seen), atol=1e-5)
    regions = torch.stack([torch.from_numpy(draw_mask(pid, 1, 0)) for pid in range(4)])
    known = (regions == 0)[:, None].float()
    seen = white_balanced(images / 255, known) * (1 - known) + model.mean * known
    expected = without_foreground(model).maps(seen)["layer4"]
    torch.testing.assert_close(model.maps(images / 255, regions)["layer4"], expected, atol=1e-5, rtol=1e-4)


def test_a_balancing_model_is_saved_and_exported_as_it_is(
    parser: Path, figure_data: ReIDDataset, tmp_path: Path
) -> None:
    model = train(recipe(foreground=str(parser), white_balance=True), figure_data, tmp_path / "run").eval()
    images = [(draw_figure(pid, 1, 0) * (1.0, 0.8, 0.6)).astype(np.uint8) for pid in range(4)]
    again = load_model(tmp_path / "run")
    np.testing.assert_array_equal(again.embed(images), model.embed(images))
    files = export_model(tmp_path / "run", tmp_path / "model.onnx").files
    np.testing.assert_allclose(load_embedder(files[0]).embed(images), model.embed(images), atol=1e-4)
    plain = train(recipe(foreground=str(parser)), figure_data, tmp_path / "plain")
    assert torch.equal(plain.trunk.conv1.weight.cpu(), model.trunk.conv1.weight.cpu())  # training sees the casts
    assert again.foreground is not None
    balanced, again.foreground.white_balance = again.embed(images), False
    assert not np.allclose(again.embed(images), balanced, atol=1e-3)


def test_there_is_no_balance_without_a_parser(figure_data: ReIDDataset, tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="white_balance goes by the background") as caught:
        train(recipe(white_balance=True), figure_data, tmp_path / "run")
    assert "model.foreground" in caught.value.fix
    assert not (tmp_path / "run").exists()


def test_only_a_parser_finds_the_foreground(parser: Path, figure_data: ReIDDataset, tmp_path: Path) -> None:
    train(recipe(), figure_data, tmp_path / "run")
    with pytest.raises(SemreidError, match="is a model named baseline") as caught:
        train(recipe(foreground=str(tmp_path / "run")), figure_data, tmp_path / "other")
    assert "parser.yaml" in caught.value.fix
    with pytest.raises(SemreidError, match="no model card"):
        train(recipe(foreground=str(tmp_path / "none")), figure_data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_model_without_it_is_what_it_was() -> None:
    plain = create_model("baseline", 3, trunk="resnet18", width=0.125, size=(64, 32))
    assert plain.foreground is None
    assert not any(name.startswith("foreground") for name in plain.state_dict())
    assert "foreground" not in plain.architecture


def test_the_card_names_what_a_model_started_from_and_its_terms(
    parser: Path, figure_data: ReIDDataset, figure_masks: Path, tmp_path: Path
) -> None:
    people = replace(figure_data, name="market1501", terms="no pictures of them in print")
    train(recipe("parser"), people, tmp_path / "teacher", annotations=figure_masks)
    others = replace(figure_data, name="other", train=tuple(s for s in figure_data.train if s.pid < 6), terms="free")
    plan = recipe(foreground=str(tmp_path / "teacher"), weights=str(tmp_path / "teacher"))
    train(plan, others, tmp_path / "run")
    card = read_card(tmp_path / "run")
    assert card.terms == "free; no pictures of them in print"
    assert set(card.trained_on["before"]) == {"pretrained", "foreground"}
    assert card.trained_on["before"]["foreground"]["images"] == 36
    with pytest.raises(SemreidError, match="the training split of market1501"):
        choose_split(tmp_path / "run", people, "all")
    unseen = tuple(s for s in people.train if s.pid == 6)  # by the model, not by its teacher
    with pytest.raises(SemreidError, match="was trained on some of these images"):
        choose_split(tmp_path / "run", replace(others, name="new", train=(), query=unseen, gallery=()), "test")


def test_a_parser_without_relu_behind_its_stem_stays_the_same_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = {"name": "parser", "trunk": "resnet18", "width": 0.125, "last_stride": 2, "size": (64, 32)}
    for name, unusual in (("without", {"stem_relu": False}), ("with", {})):
        write_run(tmp_path / name, arguments | unusual)
        parser = load_model(tmp_path / name)
        built = build_model(recipe(foreground=str(tmp_path / name)), 3).eval()
        assert built.foreground is not None
        images = (crops() / 255 - built.mean) / built.std
        assert images.shape[2:] == parser.size == (64, 32)
        maps = parser.trunk(images)
        parser.heads["parser"].embed(maps)
        expected = maps["parsing"].float().softmax(1)[:, REGIONS.index("background"), None]
        torch.testing.assert_close(built.foreground._background(images), expected)
    assert "stem_relu" not in parser_arguments(tmp_path / "with")


def test_a_parser_with_a_foreground_of_its_own_is_refused(parser: Path, tmp_path: Path) -> None:
    arguments = {"name": "parser", "trunk": "resnet18", "width": 0.125, "last_stride": 2, "size": (64, 32)}
    write_run(tmp_path / "run", {**arguments, "foreground": parser_arguments(parser)})
    with pytest.raises(SemreidError, match="background another parser has faded"):
        parser_arguments(tmp_path / "run")
