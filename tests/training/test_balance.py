import pytest
import torch

from semreid.data.sampler import pk_batches
from semreid.errors import SemreidError
from semreid.training.balance import Balance, balanced_weights
from semreid.training.trainer import Trainer
from tests.training.test_trainer import make_trainer

SHARES = {"texture.reconstruction": 0.5, "identity.triplet": 2.0}


def san(**optim: object) -> Trainer:
    options = {"decoder_blocks": 3, "triplet": "none"}
    return make_trainer("cpu", precision="fp32", model={"name": "san", "options": options}, optim=optim)


def test_gradients_at_the_last_layer_of_the_trunk_have_the_wanted_lengths() -> None:
    trainer = san(shares=SHARES, ema=0.0)
    trainer.model.train()
    losses = trainer.model.losses(trainer.batch(next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0))), 0))
    weights = Balance(SHARES).weights(losses, trainer.model.trunk)
    layer = trainer.model.trunk.layer4[-1].conv2.weight
    assert weights.keys() == SHARES.keys()
    lengths = {}
    for name in ("identity.id", *SHARES):
        (gradient,) = torch.autograd.grad(weights.get(name, 1.0) * losses[name], layer, retain_graph=True)
        lengths[name] = float(gradient.norm())
    for name, share in SHARES.items():
        assert lengths[name] / lengths["identity.id"] == pytest.approx(share, rel=1e-4)


def test_they_are_measured_now_and_then_and_change_slowly() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    found = []
    balance = Balance({"b": 1.0})
    for step in range(41):
        slope = 1.0 + step  # of the other loss: the weight that is right falls
        losses = {"identity.id": layer.weight.sum(), "b": slope * layer.weight.sum()}
        found.append(balance.weights(losses, layer)["b"])
    first = 0.8 + 0.2 / 21
    assert found == pytest.approx([1.0] * 20 + [first] * 20 + [0.8 * first + 0.2 / 41])


def test_the_step_takes_them_and_a_resumed_run_goes_on_with_them() -> None:
    trainer, other = san(shares=SHARES, ema=0.0), san(shares=SHARES, ema=0.0)
    trainer.model.train()
    rows = next(iter(pk_batches(trainer.labels, 4, 2, seed=0, epoch=0)))
    told = trainer.step(trainer.batch(rows, 0))
    weights = trainer.model.loss_weights | trainer.balance.current
    expected = sum(weights.get(name, 1.0) * told[name] for name in told if name != "total")
    assert float(told["total"]) == pytest.approx(float(expected), rel=1e-5)
    other.restore(trainer.state())
    assert (other.balance.steps, other.balance.current) == (1, trainer.balance.current)


def test_losses_that_are_none_or_do_not_reach_the_trunk_are_said() -> None:
    x, y = (torch.ones(2, requires_grad=True) for _ in range(2))
    with pytest.raises(SemreidError, match="needs the loss 'texture.l1'"):
        balanced_weights({"identity.id": x.sum()}, {"texture.l1": 1.0}, x)
    with pytest.raises(SemreidError, match="'b' sends no gradient"):
        balanced_weights({"identity.id": x.sum(), "b": y.sum()}, {"b": 1.0}, x)
    assert balanced_weights({"identity.id": x.sum(), "b": 0 * x.sum()}, {"b": 1.0}, x) == {"b": 0.0}
