"""One model out of several runs: the mean of their weights, usually better than each, and no slower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from semreid.errors import SemreidError
from semreid.models.card import Card, card_file, joined_terms, read_card, save_model
from semreid.models.loading import load_model
from semreid.training.record import RunFolder


def average_runs(runs: Sequence[Path | str], out: Path) -> Card:
    """Average the weights of runs that started from the same weights, and write the mean as a run of its own.

    From one start, runs on other people or with other settings stay close enough that all between them is good, too,
    and what each learned by heart cancels out (Wortsman et al., "Model soups", ICML 2022). So it is with a run and the
    one that it started from: their mean learns what is new and keeps more of what it knew (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022). Classifiers know the people of one run, so the mean has none.

    Args:
        runs: Run folders or card files, two or more.
        out: Run folder to make.

    Raises:
        SemreidError: If there are fewer than two runs, one comes twice or is unusable, they are different models or
            started from different or from random weights, or ``out`` holds a run already or cannot be written.
    """
    if len(runs) < 2:
        raise SemreidError(f"a mean takes two runs or more, not {len(runs)}", fix="name more run folders")
    folder = RunFolder(out, resume=None)
    cards = [read_card(run) for run in runs]
    for run, card in zip(runs[1:], cards[1:], strict=True):
        _require_relatives(runs[0], cards[0], run, card)
    files = [card_file(run).resolve() for run in runs]
    if twice := [run for i, run in enumerate(runs) if files[i] in files[:i]]:
        raise SemreidError(f"{twice[0]} is named twice", fix="name each run once: all have the same share of a mean")
    states = [load_model(run).state_dict() for run in runs]
    card = _card(runs, cards)
    model = card.build()
    for name, tensor in model.state_dict().items():
        same = [state[name] for state in states if state[name].shape == tensor.shape]  # none of a layer for each person
        tensor.copy_(torch.stack(same).double().mean(dim=0) if same else torch.zeros_like(tensor))
    with folder.claimed():
        return save_model(folder.path, model, card)


def _require_relatives(one: Path | str, first: Card, other: Path | str, card: Card) -> None:
    wanted, found = ({**c.model, "num_ids": None} for c in (first, card))
    if changed := [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]:
        name = changed[0]
        raise SemreidError(
            f"{one} and {other} are different models: {name} {wanted.get(name)} and {name} {found.get(name)}",
            fix="average runs of the same recipe",
        )
    its, theirs = _starts(first), _starts(card)
    goes_on = _are_same(theirs, [_Start(first.sha256, first.origin()), its[1]]) or _are_same(
        its, [_Start(card.sha256, card.origin()), theirs[1]]
    )
    random = its[0].origin == theirs[0].origin == "scratch"
    if not goes_on and (random or not _are_same(its, theirs)):
        raise SemreidError(
            f"{one} and {other} started from {'random' if random else 'different'} weights: the mean of such runs is "
            "worth nothing",
            fix="train them with the same model.weights=RUN, and the same model.foreground if any",
        )


START = ("pretrained", "foreground", "starts")
"""What a card says of the weights that a run began with."""


class _Start(NamedTuple):
    """What a run started from, or its parser.

    Attributes:
        digest: Of its weights; None in cards of earlier versions.
        origin: The data that it learned from, which tell more than the name of a folder; what it is called where nobody
            knows these.
    """

    digest: str | None
    origin: Any


def _starts(card: Card) -> list[_Start]:
    digests, parents = card.trained_on.get("starts", {}), card.parents()
    return [
        _Start(digests.get(role), parents.get(role, card.trained_on.get(role))) for role in ("pretrained", "foreground")
    ]


def _are_same(its: Sequence[_Start], theirs: Sequence[_Start]) -> bool:
    """Compare by digests where both are known."""
    return all(
        a.digest == b.digest if a.digest and b.digest else a.origin == b.origin
        for a, b in zip(its, theirs, strict=True)
    )


def _card(runs: Sequence[Path | str], cards: Sequence[Card]) -> Card:
    return Card(
        model={**cards[0].model, "num_ids": 1},
        trained_on={
            "dataset": f"the mean of {len(runs)} runs",
            "identities": sum(card.trained_on.get("identities", 0) for card in cards),
            "images": sum(card.trained_on.get("images", 0) for card in cards),
            "sketch": sorted(set().union(*(card.trained_on.get("sketch", []) for card in cards))),
            **{name: told for name, told in cards[0].trained_on.items() if name in START},
            "before": {
                **cards[0].parents(),
                **{str(run): card.origin() for run, card in zip(runs, cards, strict=True)},
            },
        },
        terms=joined_terms(*(card.terms for card in cards)),
        seed=cards[0].seed,
    )
