import pytest
import torch

from semreid.data.sample import ReIDDataset
from semreid.data.sampler import pk_batches
from semreid.data.store import Store
from semreid.errors import SemreidError
from semreid.training.build import build_model
from semreid.training.trainer import Trainer, sum_losses
from tests.training.test_loop import recipe


def test_loss_weights_by_name() -> None:
    losses = {"a.id": torch.tensor(2.0), "a.triplet": torch.tensor(3.0)}
    assert float(sum_losses(losses, {})) == 5
    assert float(sum_losses(losses, {"a.id": 0.5, "a.triplet": 0})) == 1
    with pytest.raises(SemreidError, match="weighs a loss 'a.trplet'") as caught:
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
