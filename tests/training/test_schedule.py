import pytest
import torch
from torch import nn

from semreid.training.recipe import OptimRecipe, ScheduleRecipe
from semreid.training.schedule import build_optimiser, build_second_optimiser, loss_weights, lr_factor


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


def test_cosine_begins_after_the_warmup_and_stays_down() -> None:
    plan = ScheduleRecipe(epochs=12, warmup_epochs=2, warmup_factor=0.2, decay="cosine", final_factor=0.1)
    assert lr_factor(plan, 1) == pytest.approx(0.6)
    assert [lr_factor(plan, epoch) for epoch in (2, 7, 12, 15)] == pytest.approx([1, 0.55, 0.1, 0.1])
    assert lr_factor(ScheduleRecipe(epochs=5, warmup_epochs=5, decay="cosine"), 5) == 1  # nothing is left to decay in


def test_milestones_may_come_in_any_order_and_multiply() -> None:
    plan = ScheduleRecipe(warmup_epochs=0, decay="step", milestones=(30, 10, 20), gamma=0.5)
    assert [lr_factor(plan, epoch) for epoch in (9.99, 10, 20, 30)] == [1, 0.5, 0.25, 0.125]


def test_a_weight_holds_until_the_next_one_whatever_their_order() -> None:
    weights = {"a": {8: 0.2, 5: 0.1, 0: 3.0}}
    assert [loss_weights(weights, epoch)["a"] for epoch in (0, 4, 5, 7, 8, 99)] == [3, 3, 0.1, 0.1, 0.2, 0.2]


def test_rate_and_momentum_arrive_and_matrices_alone_are_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    recipe = OptimRecipe(name="sgd", lr=0.3, momentum=0.7, weight_decay=0.2, decay_norms=False)
    weights, rest = build_optimiser(recipe, model).param_groups
    assert [(group["lr"], group["momentum"]) for group in (weights, rest)] == [(0.3, 0.7)] * 2
    assert [tuple(p.shape) for p in weights["params"]] == [(4, 3)]
    assert [tuple(p.shape) for p in rest["params"]] == [(4,)] * 3
    for name in ("adam", "amsgrad", "adamw"):
        assert {g["lr"] for g in build_optimiser(OptimRecipe(name=name, lr=0.3), model).param_groups} == {0.3}


def test_the_second_optimiser_is_that_of_the_released_code_of_san() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model[1].bias.requires_grad_(False)
    optimiser = build_second_optimiser(OptimRecipe(separate_losses=("a",), separate_lr=2e-5), model)
    (group,) = optimiser.param_groups
    assert type(optimiser) is torch.optim.Adam
    assert (group["lr"], group["betas"], group["weight_decay"]) == (2e-5, (0.5, 0.999), 0)  # docs/papers/san.md
    assert len(group["params"]) == 3
