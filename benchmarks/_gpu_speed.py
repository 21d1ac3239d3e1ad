"""The parts *speed* and *limit* of `gpu.py`: how fast steps, embedding and ranking are, and what holds a step up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import magnifiernet
import pmm
from _gpu_results import SYSTEMS, Part
from _timing import crowd
from semreid.atlas import SIZE
from semreid.data.batch import Batch
from semreid.data.sample import Sample
from semreid.data.store import Store
from semreid.functional import Ranking, rank_distances, rank_features
from semreid.functional.reranking import reranked_blocks
from semreid.models.model import ReIDModel
from semreid.training.build import build_model
from semreid.training.recipe import Recipe, parse_recipe
from semreid.training.replay import WARM_UP, ReplayedStep
from semreid.training.trainer import Trainer, sum_losses

PUBLISHED_STEPS = 56_400
"""Of MagnifierNet on CUHK03: 600 epochs of 94 batches."""
REGIONS, NUM_IDS = 8, 767


def recipe_of(part: Part, name: str, batch: int, **changes: Any) -> Recipe:
    """The recipe of a system at the sizes of its paper, from random weights."""
    trunk, width = part.scale.trunk
    (height, wide), (_, k) = part.scale.sizes[name], part.scale.people
    content = {
        "model": {"name": name, "trunk": trunk, "width": width, "weights": "scratch"},
        "data": {"height": height, "width": wide, "identities": max(2, batch // k), "instances": k},
    }
    return parse_recipe(content | changes)


def make_trainer(part: Part, name: str, batch: int, **changes: Any) -> Trainer:
    """A trainer of random images with masks and textures in the memory of the device."""
    recipe = recipe_of(part, name, batch, **changes)
    count, size = part.scale.images, recipe.data.size

    torch.manual_seed(0)
    draws = torch.Generator(part.device).manual_seed(0)  # not the one that a recording, and its failure, would change

    def random(top: int, *shape: int) -> Tensor:
        return torch.randint(0, top, (count, *shape), dtype=torch.uint8, device=part.device, generator=draws)

    samples = tuple(Sample(Path(f"{i}.jpg"), i // recipe.data.instances, 0) for i in range(count))
    skins = random(256, SIZE, SIZE, 3) if name in ("san", "unified") else None
    store = Store(samples, random(256, *size, 3), random(REGIONS, *size), skins)
    trainer = Trainer(recipe, build_model(recipe, NUM_IDS), store, part.device)
    trainer.model.train()
    return trainer


def batches_of(trainer: Trainer) -> Callable[[], Batch]:
    """What gives a new batch at each call."""
    rows, made = trainer.batches(), 0

    def following() -> Batch:
        nonlocal made
        made += 1
        return trainer.batch(rows[made % len(rows)], made)

    return following


def measure_system(part: Part, name: str, batch: int, engine: str = "eager") -> dict[str, float]:
    """Steps as `semreid train` makes them: rate, what of it is data, memory, and the share of the bare trunk."""
    trainer = make_trainer(part, name, batch, engine=engine)
    part.free()
    following = batches_of(trainer)
    fixed = following()
    alone = part.rate(lambda: trainer.step(fixed), WARM_UP + 1)
    whole = part.rate(lambda: trainer.step(following()), 1)
    if trainer.replayed is not None and not trainer.replayed.recorded:
        raise RuntimeError("no step was replayed: what was timed is not engine=graphs")
    found = {"steps_per_second": whole, "images_per_second": whole * batch, "data_share": max(0.0, 1 - whole / alone)}
    found["peak_gib"] = part.peak()
    if name == "magnifiernet":
        found["hours_of_the_published_schedule"] = PUBLISHED_STEPS / whole / 3600
    trunk = bare_step(trainer.model, fixed.images)
    if engine == "eager":  # a replayed step tells nobody what it computes
        step = partial(trainer.step, fixed)
        found["trunk_share_of_operations"] = operations(trunk) / operations(step)
        found["trunk_share_of_kernels"] = kernels(trunk) / kernels(step)
    else:
        once = part.rate(replayed_trunk(trainer, fixed), WARM_UP + 1)
        found |= {"replayed_trunk_steps_per_second": once, "share_of_replayed_trunk": whole / once}
    bare = part.rate(trunk)
    return found | {"bare_trunk_steps_per_second": bare, "share_of_bare_trunk": whole / bare}


def replayed_trunk(trainer: Trainer, batch: Batch) -> Callable[[], object]:
    """The step of the bare trunk, replayed as that of a trainer is: it never waits for the host."""
    replayed = ReplayedStep(trainer.device)

    def work(batch: Batch, _: Mapping[str, float]) -> dict[str, Tensor]:
        bare_step(trainer.model, batch.images)()
        return {}

    return lambda: replayed(work, batch, {})


def operations(work: Callable[[], object]) -> int:
    """Count the multiplications and additions of products and convolutions, forwards and backwards."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    total: int = counter.get_total_flops()
    return total


class _Asking(TorchDispatchMode):
    """Counts what the host asks the device for: all but views and memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked = 0

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = [found.alias_info is not None and not found.alias_info.is_write for found in func._schema.returns]
        self.asked += not (any(views) or "empty" in func.name())
        return func(*args, **(kwargs or {}))


def kernels(work: Callable[[], object]) -> int:
    """Count what the host asks the device for, one kernel or a few each: where the device waits, it waits for these."""
    counter = _Asking()
    with counter:
        work()
    return counter.asked


def bare_step(model: ReIDModel, images: Tensor) -> Callable[[], None]:
    """Forward and backward of the trunk alone, in bf16."""

    def work() -> None:
        model.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = model.trunk(images)["layer4"].float().mean()
        loss.backward()

    return work


def measure_straightforward(part: Part, name: str, batch: int) -> dict[str, float]:
    """The same in float32 as published, without thought of speed: memory in order, one group for each parameter.

    MagnifierNet and PMM are those of `magnifiernet.py` and `pmm.py`; the others take the losses of our model.
    """
    trainer = make_trainer(part, name, batch, precision="fp32")
    example, model = batches_of(trainer)(), trainer.model
    forms: dict[str, Callable[[ReIDModel], Callable[[Batch], dict[str, Tensor]]]] = {
        "magnifiernet": magnifiernet.Straightforward,
        "pmm": pmm.Straightforward,
    }
    losses = forms.get(name, lambda model: model.losses)(model)  # type: ignore[no-untyped-call]
    if isinstance(losses, torch.nn.Module):
        losses.to(part.device)
    module = losses if isinstance(losses, torch.nn.Module) else model
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    groups = [{"params": [p]} for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(groups, 3.5e-4, weight_decay=5e-4, foreach=False)
    regions = None if example.regions is None else example.regions.contiguous()
    fixed = Batch(example.images.contiguous(), example.pids, example.camids, regions, example.textures)
    part.free()

    def work() -> float:
        total = sum_losses(losses(fixed), {})
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        return total.item()

    rate = part.rate(work, warm_up=1)
    return {"steps_per_second": rate, "images_per_second": rate * batch, "peak_gib": part.peak()}


def measure_option(part: Part, name: str, option: str, batch: int) -> dict[str, float]:
    """A step with one thing changed, on a batch that stays."""
    engine = "compiled" if option == "compiled" else "eager"
    precision = "fp32" if option == "float32" else "bf16"
    trainer = make_trainer(part, name, batch, engine=engine, precision=precision)
    fixed = batches_of(trainer)()
    if option == "channels first":
        trainer.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        regions, textures = fixed.regions, fixed.textures
        fixed = Batch(fixed.images.contiguous(), fixed.pids, fixed.camids, regions, textures)
    if option == "unfused optimiser":
        trainer.optimiser = torch.optim.Adam(trainer.model.parameters(), 3.5e-4, weight_decay=5e-4, fused=False)
    torch.backends.cudnn.benchmark = option == "cudnn.benchmark"
    part.free()
    totals: list[float] = []
    began = part.seconds(lambda: totals.append(float(trainer.step(fixed)["total"])), 1)
    rate = part.rate(lambda: trainer.step(fixed))
    torch.backends.cudnn.benchmark = False
    return {"steps_per_second": rate, "first_step_seconds": began, "first_loss": totals[0], "peak_gib": part.peak()}


def measure_embedding(part: Part, batch: int) -> dict[str, float]:
    """Images a second through the trained network alone, images on the device, and with their way there and back."""
    trainer = make_trainer(part, "baseline", part.scale.people[0] * part.scale.people[1])
    images = torch.randint(0, 256, (batch, 3, *trainer.recipe.data.size), dtype=torch.uint8)
    there, rows = images.to(part.device), images.permute(0, 2, 3, 1).numpy()
    alone = part.rate(lambda: trainer.model.embed_batch(there))
    whole = part.rate(lambda: trainer.model.embed(rows, batch_size=batch))
    return {"images_per_second": batch * alone, "images_per_second_from_arrays": batch * whole}


def measure_ranking(part: Part) -> dict[str, float]:
    """Ranking and re-ranking on the device beside the CPU path: seconds, and how far the numbers are apart."""
    data = crowd(*part.scale.crowd)
    here = torch.from_numpy(data.query), torch.from_numpy(data.gallery)
    there = here[0].to(part.device), here[1].to(part.device)
    found: dict[str, float] = {}
    for name, features in (("cpu", here), ("device", there)):
        works = {
            "ranking": partial(rank_features, *features, *data.ids),
            "reranking": partial(rank_again, *features, *data.ids),
        }
        for what, work in works.items():
            work()  # the kernels are compiled
            found[f"{what}_seconds_{name}"] = part.seconds(work, 1) if name == "cpu" else 1 / part.rate(work, 1)
            found[f"{what}_mAP_{name}"] = work().mAP
    pairs = zip(reranked_blocks(*here), reranked_blocks(*there), strict=True)
    apart = np.concatenate([np.abs(np.asarray(a) - torch.as_tensor(b).cpu().numpy()) for a, b in pairs])
    return found | {"largest_difference": float(apart.max()), "equal_to_1e-5": float((apart < 1e-5).mean())}


def rank_again(query: Tensor, gallery: Tensor, *ids: Any) -> Ranking:
    """Re-rank, then rank."""
    return rank_distances(reranked_blocks(query, gallery), *ids)


OPTIONS = ("float32", "channels first", "unfused optimiser", "cudnn.benchmark", "compiled")


def speed(part: Part) -> None:
    """Measure everything in the order of its worth."""
    batch, brisk = part.scale.people[0] * part.scale.people[1], part.scale.seconds
    for name in SYSTEMS:
        for engine in ("eager", "graphs"):  # side by side: what else the host has to do is the same for both
            row = name if engine == "eager" else f"{name}, graphs"
            part.attempt(row, partial(measure_system, part, name, engine=engine), batch, 4 * brisk)
    for name in SYSTEMS:
        part.attempt(f"{name}, straightforward", partial(measure_straightforward, part, name), batch, 3 * brisk)
    part.attempt("ranking", lambda _: measure_ranking(part), 0, 4 * brisk)
    part.attempt("embedding", lambda b: measure_embedding(part, b), 4 * batch, 2 * brisk)
    on_cpu = part.device.type == "cpu"
    for name in ("baseline", "magnifiernet"):
        for option in OPTIONS:
            if on_cpu and option == "compiled":
                part.note(f"{name}, {option}", {"left out": "a rehearsal does not wait for a compiler"})
                continue
            work = partial(measure_option, part, name, option)
            part.attempt(f"{name}, {option}", work, batch, 20 * brisk if option == "compiled" else 2 * brisk)


def limit(part: Part) -> None:
    """Measure the peaks of the card, and what share of them the steps of each system reach."""
    peaks = measure_peaks(part)
    part.note("peaks", peaks)
    batch = part.scale.people[0] * part.scale.people[1]
    for name in SYSTEMS:
        part.attempt(name, partial(measure_limit, part, name, peaks=peaks), batch, 4 * part.scale.seconds)


def measure_peaks(part: Part) -> dict[str, float]:
    """What a large bf16 matrix product of random numbers and a large copy reach."""
    side = part.scale.matrix
    a, b = (torch.randn(side, side, device=part.device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(side, 8 * side, device=part.device)
    target = torch.empty_like(source)
    return {
        "bf16_tflops": 2 * side**3 * part.rate(lambda: a @ b) / 1e12,
        "copy_gb_per_second": 2 * source.nbytes * part.rate(lambda: target.copy_(source)) / 1e9,
    }


def measure_limit(part: Part, name: str, batch: int, peaks: dict[str, float]) -> dict[str, Any]:
    """Operations of a step over its time, how busy the device is, and the ten kernels that take longest."""
    trainer = make_trainer(part, name, batch)
    following = batches_of(trainer)
    work, times = (lambda: trainer.step(following())), 5 if part.device.type == "cuda" else 1
    needed = operations(work)
    reached = needed * part.rate(work) / 1e12
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if part.device.type == "cuda" else [])
    with profile(activities=kinds) as seen:
        seconds = part.seconds(work, times)
    events = seen.key_averages()
    if part.device.type == "cuda":
        spent = {e.key: e.self_device_time_total / 1e6 for e in events if str(e.device_type).endswith("CUDA")}
    else:
        spent = {e.key: e.self_cpu_time_total / 1e6 for e in events}
    longest = sorted(spent, key=spent.__getitem__, reverse=True)[:10]
    return {
        "gflop_a_step": needed / 1e9,
        "tflops": reached,
        "share_of_peak": reached / peaks["bf16_tflops"],
        "device_busy_share": sum(spent.values()) / seconds,
        "ten_longest": [{"name": key[:120], "ms_a_step": 1e3 * spent[key] / times} for key in longest],
    }
