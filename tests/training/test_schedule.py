import pytest
import torch
from torch import nn

from semreid.training.recipe import OptimRecipe, ScheduleRecipe
from semreid.training.schedule import build_optimiser, loss_weights, lr_factor


def test_bag_of_tricks_schedule() -> None:
    plan = ScheduleRecipe(epochs=120, warmup_epochs=10, warmup_factor=0.01, decay="step", milestones=(40, 70))
    assert lr_factor(plan, 0) == 0.01
    assert lr_factor(plan, 5) == pytest.approx(0.505)
    assert [lr_factor(plan, e) for e in (10, 39.9, 40, 69.9, 70, 119)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_cosine_equals_pytorchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20, eta_min=0.1)
    ours = ScheduleRecipe(epochs=20, warmup_epochs=0, decay="cosine", final_factor=0.1)
    for epoch in range(20):
        assert lr_factor(ours, epoch) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    assert lr_factor(ScheduleRecipe(warmup_epochs=0, decay="constant"), 99) == 1


def test_diversity_weighs_in_the_last_40_epochs() -> None:
    weights = {"fusion.diversity": {560: 0.01}, "parsing.pixel": 2.0}
    steps = [loss_weights(weights, epoch) for epoch in range(600)]
    assert [step["fusion.diversity"] for step in steps] == [0.0] * 560 + [0.01] * 40
    assert {step["parsing.pixel"] for step in steps} == {2.0}


@pytest.mark.parametrize(
    ("name", "kind", "amsgrad"),
    [
        ("adam", torch.optim.Adam, False),
        ("amsgrad", torch.optim.Adam, True),
        ("adamw", torch.optim.AdamW, False),
        ("sgd", torch.optim.SGD, None),
    ],
)
def test_optimisers(name: str, kind: type, amsgrad: bool | None) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].bias.requires_grad_(False)
    optimiser = build_optimiser(OptimRecipe(name=name, weight_decay=0.1, decay_norms=False), model)
    assert type(optimiser) is kind
    assert optimiser.defaults.get("amsgrad") == amsgrad
    weights, rest = optimiser.param_groups
    assert weights["weight_decay"] == 0.1
    assert rest["weight_decay"] == 0
    assert [len(weights["params"]), len(rest["params"])] == [1, 2]  # the frozen shift is in neither
    assert build_optimiser(OptimRecipe(name=name, weight_decay=0.1), model).param_groups[1]["weight_decay"] == 0.1
