"""What explaining costs, and whether it tells the truth.

python benchmarks/explanation.py                               cost of a Grad-CAM in training, ResNet-50 at 256 x 128
python benchmarks/explanation.py --quick                       seconds; for a test
python benchmarks/explanation.py --run RUN --data NAME:PATH    whether the places that are marked matter to a model

Cost: Grad-CAM of the true identities from the gradient of the pooled vector, against a backward pass through the
network, after the same forward pass.

Truth: in one crop of each genuine pair a quarter is painted over: the hottest, or at random. The more the similarity
falls, the more the marked places mattered. Among equals, chance decides; means of five runs.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from _timing import command_line, timed
from semreid.data.benchmarks import load_dataset
from semreid.data.images import read_image, resize
from semreid.explain.heat import pair_heat
from semreid.functional.gradcam import grad_cam
from semreid.functional.pooling import avg_pool
from semreid.models.loading import load_model
from semreid.models.model import ReIDModel
from semreid.models.trunk import build_trunk

Heat = NDArray[np.float32]
Crop = NDArray[np.uint8]


def compare_cost(trunk: str, width: float, batch: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network, classifier = build_trunk(trunk, width=width), nn.Linear(int(2048 * width), 751)
    assert isinstance(network, nn.Module)
    images, pids = torch.rand(batch, 3, *size), torch.arange(batch)
    network(images)  # warm up
    maps, forward = timed(lambda: network(images)["layer4"])
    pooled = avg_pool(maps)
    score = classifier(pooled).gather(1, pids[:, None]).sum()
    maps.retain_grad()
    _, whole = timed(lambda: score.backward(retain_graph=True))
    assert maps.grad is not None
    naive = (maps.grad.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu()
    ours, cheap = timed(lambda: grad_cam(maps, torch.autograd.grad(score, pooled)[0]))
    print(
        f"forward pass {forward:.2f} s; Grad-CAM by a backward pass {whole:.2f} s, from the pooled vector {cheap:.4f} s"
    )
    print(f"forward pass and Grad-CAM together: {(forward + whole) / (forward + cheap):.1f} times faster")
    error = (ours - naive).abs().max() / naive.max()
    print(f"largest difference of the maps {error:.1e} of their maximum; {'equal' if error < 1e-4 else 'NOT EQUAL'}")


def genuine_pairs(spec: str, most: int) -> list[tuple[Crop, Crop]]:
    """A query and a gallery crop of the same person in another camera, for each of the first queries."""
    dataset = load_dataset(spec)
    found = []
    for query in dataset.query[:: max(1, len(dataset.query) // most)]:
        match = next((s for s in dataset.gallery if s.pid == query.pid and s.camid != query.camid), None)
        if match:
            found.append((read_image(query), read_image(match)))
    return found


def plain_grad_cam(model: ReIDModel, query: Crop, match: Crop) -> Heat:
    """Grad-CAM as published, with the gradient averaged over space."""
    images = np.stack([resize(crop, model.size) for crop in (query, match)])
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(images).permute(0, 3, 1, 2))
    last = maps["layer4"].requires_grad_()
    left, right = model.embed_maps({**maps, "layer4": last})
    (gradient,) = torch.autograd.grad(F.cosine_similarity(left, right, dim=0), last)
    return grad_cam(last.detach(), gradient.sum(dim=(2, 3)))[1].numpy()


def painted(crop: Crop, heat: Heat, colour: NDArray[np.float64], rng: np.random.Generator) -> Crop:
    """The crop without the hottest quarter of its grid; among equals, chance decides."""
    order = np.lexsort((rng.random(heat.size), -heat.ravel()))
    mask = np.zeros(heat.size, np.float32)
    mask[order[: heat.size // 4]] = 1
    spread = F.interpolate(Tensor(mask).view(1, 1, *heat.shape), crop.shape[:2]).numpy()[0, 0] > 0
    return np.where(spread[..., None], colour, crop).astype(np.uint8)


def compare_truth(run: str, spec: str, most: int) -> None:
    model, rng = load_model(run), np.random.default_rng(0)
    pairs = [(q, resize(m, model.size)) for q, m in genuine_pairs(spec, most)]
    colour = np.mean([m.mean(axis=(0, 1)) for _, m in pairs], axis=0)
    queries = model.embed([q for q, _ in pairs])

    def similarity(crops: list[Crop]) -> float:
        return float((queries * model.embed(crops)).sum(axis=1).mean())

    def fall(heats: list[Heat]) -> float:
        runs = [
            similarity([painted(m, h, colour, rng) for (_, m), h in zip(pairs, heats, strict=True)]) for _ in range(5)
        ]
        return before - float(np.mean(runs))

    before = similarity([m for _, m in pairs])
    plain = [plain_grad_cam(model, q, m) for q, m in pairs]
    kept = [pair_heat(model, q, [m]).match[0] for q, m in pairs]
    chance = fall([np.zeros_like(heat) for heat in kept])
    print(f"{len(pairs)} genuine pairs, mean similarity {before:.3f}; a random quarter painted over: -{chance:.3f}")
    marks = {
        "Grad-CAM of the cosine": plain,
        "semreid explain": kept,
        "its coldest quarter": [-heat for heat in kept],
    }
    for name, heats in marks.items():
        drop = fall(heats)
        print(f"{name}: -{drop:.3f}, {drop / chance:.2f} times as much as at random")


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--run")
    parser.add_argument("--data")
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    if bool(options.run) != bool(options.data):
        parser.error("give both --run and --data, or neither")
    if options.run:
        compare_truth(options.run, options.data, options.pairs)
    else:
        compare_cost("resnet50", *((0.125, 2, (64, 32)) if options.quick else (1.0, 16, (256, 128))))


if __name__ == "__main__":
    main()
