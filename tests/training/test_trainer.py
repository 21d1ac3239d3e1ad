import copy
from functools import partialmethod
from pathlib import Path

import pytest
import torch

from semreid.atlas import SIZE
from semreid.data.sample import ReIDDataset, Sample
from semreid.data.sampler import pk_batches
from semreid.data.store import Store
from semreid.errors import SemreidError
from semreid.functional import batch_contrast
from semreid.training import trainer as module
from semreid.training.build import build_model
from semreid.training.trainer import Trainer, sum_losses
from tests.training.test_loop import recipe


def test_loss_weights_by_name() -> None:
    losses = {"a.id": torch.tensor(2.0), "a.triplet": torch.tensor(3.0)}
    assert float(sum_losses(losses, {})) == 5
    assert float(sum_losses(losses, {"a.id": 0.5, "a.triplet": 0})) == 1
    with pytest.raises(SemreidError, match="names a loss 'a.trplet'") as caught:
        sum_losses(losses, {"a.trplet": 1})
    assert "a.triplet" in caught.value.fix


def test_averaged_weights_forget_the_first_ones(figure_data: ReIDDataset) -> None:
    plan = recipe(optim={"ema": 0.998})
    pixels = torch.randint(0, 256, (len(figure_data.train), *plan.data.size, 3), dtype=torch.uint8)
    model = build_model(plan, len({s.pid for s in figure_data.train}))
    trainer = Trainer(plan, model, Store(figure_data.train, pixels), torch.device("cpu"))
    name = "heads.identity.classifier.weight"
    expected = torch.zeros(())
    for step in range(6):
        images = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=step)))
        trainer.step(trainer.batch(images, step))
        decay = min(0.998, (1 + step) / (10 + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * trainer.model.state_dict()[name]
    torch.testing.assert_close(trainer.judged.state_dict()[name], expected)


def test_weights_without_counters_are_averaged_too() -> None:
    model = torch.nn.Linear(2, 1)
    average = module._Average(model, 0.5)
    for _ in range(2):
        average.update()
    torch.testing.assert_close(average.module.weight, model.weight)


def test_the_average_follows_a_model_that_takes_back_weights() -> None:
    """The tensors are looked for once, and stay the model's and the average's own when a run is resumed."""
    model = torch.nn.BatchNorm1d(2)
    average = module._Average(model, 0.5)
    stored = {name: value + 9 for name, value in average.state_dict().items()}
    average.load_state_dict(stored | {"n_averaged": torch.tensor(0)})
    stored = {"weight": torch.full((2,), 4.0), "num_batches_tracked": torch.tensor(7)}
    model.load_state_dict(model.state_dict() | stored)
    average.update()
    assert average.n_averaged == 1
    assert average.module.weight.tolist() == [4.0, 4.0]
    assert average.module.num_batches_tracked == 7


def test_a_gradient_is_laid_out_like_its_parameter() -> None:
    """Fused optimisers walk through both in the order of memory, and would mix up the values of another one."""
    parameter = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    gradient = torch.rand(4, 3, 2, 2)
    found = module._laid_out(gradient, parameter)
    assert found.stride() == parameter.stride()
    assert torch.equal(found, gradient)


def make_trainer(device: str, *, synthetic: bool = False, **changes) -> Trainer:
    """A trainer of a store with all that any head may want."""
    plan = recipe(**changes)
    size = plan.data.size
    samples = tuple(Sample(Path(f"{i}.jpg"), i // 4, i % 2) for i in range(24))
    draw = torch.Generator().manual_seed(0)
    pixels, masks, skins = (
        torch.randint(0, top, shape, dtype=torch.uint8, generator=draw)
        for top, shape in ((256, (24, *size, 3)), (8, (24, *size)), (256, (24, SIZE, SIZE, 3)))
    )
    place = torch.device(device)
    store = Store(samples, pixels, masks, skins).to(place)
    return Trainer(plan, build_model(plan, 6), store, place, synthetic=store if synthetic else None)


@pytest.mark.parametrize("meeting", ["chance", "camera"])
def test_a_recipe_says_who_meets_in_a_batch(meeting: str) -> None:
    trainer = make_trainer("cpu", data={"meeting": meeting})
    camids = trainer.store.camids if meeting == "camera" else None
    expected = pk_batches(trainer.labels, 4, 2, seed=trainer.recipe.seed, epoch=0, camids=camids)
    assert [batch.tolist() for batch in trainer.batches()] == [batch.tolist() for batch in expected]


STEPS = {
    "baseline": ({"center": True, "pool": "gem"}, False),
    "magnifiernet": ({"variant": "released"}, False),
    "san": ({}, False),
    "san released": ({"variant": "released"}, False),
    "san with synthetic people": ({}, True),
    "san in part": ({"painted": 0.5}, True),
    "pmm": ({"dim": 16, "negative": "hardest", "label_mixing": True}, False),
    "bdb": ({}, False),
    "unified": ({"dim": 16}, False),
}


def test_the_joined_embedding_learns_by_the_contrast_of_the_batch() -> None:
    unified = {"name": "unified", "options": {"dim": 16, "parts": ["parsing", "srb", "stages"]}}
    wanted = {"weight": 0.5, "temperature": 0.2, "heads": ["parsing"]}
    trainer = make_trainer("cpu", precision="fp32", model=unified, contrast=wanted, losses={"parsing.pixel": 1})
    trainer.model.train()
    batch = trainer.batch(next(iter(trainer.batches())), 0)
    with torch.no_grad():
        joined = copy.deepcopy(trainer.model).embed_maps(copy.deepcopy(trainer.model).maps(batch.images))
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    losses = trainer.step(batch)
    assert set(losses) == {"parsing.pixel", "contrast.batch", "total"}
    torch.testing.assert_close(losses["contrast.batch"], batch_contrast(joined, batch.pids, 0.2))
    torch.testing.assert_close(losses["total"], losses["parsing.pixel"] + 0.5 * losses["contrast.batch"])
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert "heads.multistage.reductions.0.0.weight" in moved  # by what it adds to the joined embedding
    assert not any("classifier" in name for name in moved)


def test_the_contrast_may_go_by_pairs_of_two_cameras() -> None:
    trainer = make_trainer("cpu", precision="fp32", contrast={"weight": 1.0, "pairs": "cameras"})
    trainer.model.train()
    batch = trainer.batch(next(iter(trainer.batches())), 0)
    with torch.no_grad():
        joined = copy.deepcopy(trainer.model).embed_maps(copy.deepcopy(trainer.model).maps(batch.images))
    found = trainer.step(batch)["contrast.batch"]
    torch.testing.assert_close(found, batch_contrast(joined, batch.pids, camids=batch.camids))
    assert found != batch_contrast(joined, batch.pids)


def test_heads_that_learn_beside_the_contrast_take_statistics_once() -> None:
    step = {}
    for weight in (0.0, 1.0):
        trainer = make_trainer("cpu", precision="fp32", contrast={"weight": weight})
        trainer.model.train()
        trainer.step(trainer.batch(next(iter(trainer.batches())), 0))
        step[weight] = trainer.model.heads["identity"].neck.running_mean
    torch.testing.assert_close(step[1.0], step[0.0])


def test_not_all_losses_can_be_separate() -> None:
    trainer = make_trainer("cpu", optim={"separate_losses": ["identity.id", "identity.triplet"]})
    trainer.model.train()
    with pytest.raises(SemreidError, match="names all losses") as caught:
        trainer.step(trainer.batch(next(iter(trainer.batches())), 0))
    assert "name fewer" in caught.value.fix


def test_the_contrast_sees_real_images_alone() -> None:
    trainer = make_trainer("cpu", synthetic=True, model={"name": "san"}, contrast={"weight": 1.0}, precision="fp32")
    trainer.model.train()
    batch = trainer.batch(next(iter(trainer.batches())), 0)
    with torch.no_grad():
        real = batch.real()
        joined = copy.deepcopy(trainer.model).embed_maps(copy.deepcopy(trainer.model).maps(real.images))
    losses = trainer.step(batch)
    torch.testing.assert_close(losses["contrast.batch"], batch_contrast(joined, real.pids))
    assert {"identity.id", "identity.triplet", "texture.reconstruction"} < set(losses)


def test_a_compiled_trunk_learns_what_an_eager_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partialmethod(torch.nn.Module.compile, backend="aot_eager")  # no wait for a C++ compiler
    monkeypatch.setattr(torch.nn.Module, "compile", quick)
    losses = {}
    for engine in ("eager", "compiled"):
        trainer = make_trainer("cpu", engine=engine, precision="fp32", model={"name": "pmm", "options": {"dim": 16}})
        trainer.model.train()
        indices = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0)))
        torch.manual_seed(0)
        losses[engine] = [trainer.step(trainer.batch(indices, step)) for step in range(2)]
        assert list(trainer.state()["model"]) == list(trainer.model.state_dict())
    assert trainer.model.trunk._compiled_call_impl is not None
    torch.testing.assert_close(losses["compiled"], losses["eager"], rtol=1e-4, atol=1e-5)


def test_two_gradients_of_one_step_and_a_compiled_trunk_are_refused() -> None:
    with pytest.raises(SemreidError, match=r"optim\.separate_losses") as caught:
        make_trainer("cpu", engine="compiled", optim={"separate_losses": ["identity.triplet"]})
    assert caught.value.fix == "set engine=eager"
