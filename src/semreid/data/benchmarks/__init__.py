"""Benchmarks by name: ``NAME[/VARIANT]:PATH`` becomes a data set. One short file per benchmark."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from semreid.data import folder
from semreid.data.benchmarks import (
    cuhk01,
    cuhk03,
    cuhk03_np,
    dukemtmc,
    market1501,
    msmt17,
    partial,
    viper,
)
from semreid.data.listing import left_out
from semreid.data.sample import ReIDDataset
from semreid.errors import SemreidError
from semreid.files import user_path

__all__ = ["BENCHMARKS", "Benchmark", "describe_benchmarks", "load_dataset"]


@dataclass(frozen=True)
class Benchmark:
    """One entry of the registry.

    Attributes:
        load: Makes the data set from its folder and a variant out of ``variants``, if there are any. Raises
            `SemreidError` if a folder or file of the layout is missing, empty or damaged, or is named otherwise.
        title: What it is, in one line.
        variants: Variant to number of splits; the first is the default. With more than one split, ``/N``
            (from 0) may follow the variant.
    """

    load: Callable[..., ReIDDataset]
    title: str
    variants: Mapping[str, int] = field(default_factory=dict)

    def variant_names(self) -> str:
        """Return the variants for help and error messages, such as ``half[/0-9]``."""
        return ", ".join(f"{v}[/0-{n - 1}]" if n > 1 else v for v, n in self.variants.items())

    def accepts(self, variant: str) -> bool:
        """Return whether the variant, with or without a split, exists."""
        base, slash, split = variant.partition("/")
        count = self.variants.get(base, 0)
        return count > 0 and (not slash or (count > 1 and split in map(str, range(count))))


_CLASSIC = ["classic-labeled", "classic-detected", "torchreid-labeled", "torchreid-detected"]
_CUHK03 = {"np-labeled": 1, "np-detected": 1, **dict.fromkeys(_CLASSIC, 20)}
_PARTIAL_REID = dict.fromkeys(["partial", "occluded", "partial-single", "occluded-single"], 1)
_CUHK01 = dict.fromkeys(["486-multi", "486-single", "100-multi", "100-single"], 10)

BENCHMARKS: dict[str, Benchmark] = {
    "market1501": Benchmark(market1501.load, "Market-1501"),
    "cuhk03": Benchmark(cuhk03.load, "CUHK03 from its raw .mat file", _CUHK03),
    "cuhk03-np": Benchmark(cuhk03_np.load, "CUHK03, 767/700, as folders", {"labeled": 1, "detected": 1}),
    "msmt17": Benchmark(msmt17.load, "MSMT17, V1 or V2", {"trainval": 1, "train": 1}),
    "partial-reid": Benchmark(partial.load_partial_reid, "Partial-REID (test only)", _PARTIAL_REID),
    "partial-ilids": Benchmark(partial.load_partial_ilids, "Partial-iLIDS (test only)"),
    "occluded-reid": Benchmark(partial.load_occluded_reid, "Occluded-REID (test only)"),
    "occluded-duke": Benchmark(dukemtmc.load_occluded, "Occluded-Duke (withdrawn: existing holders only)"),
    "dukemtmc": Benchmark(dukemtmc.load, "DukeMTMC-reID (withdrawn: existing holders only)"),
    "cuhk01": Benchmark(cuhk01.load, "CUHK01, 485/486 or 871/100", _CUHK01),
    "viper": Benchmark(viper.load, "VIPeR, ten halves", {"half": 10}),
    "people": Benchmark(market1501.load_people, "synthetic people made by 'semreid synthesize'"),
    "folder": Benchmark(folder.load, "your own data: identity folders, split folders or a CSV file"),
}


def load_dataset(spec: str) -> ReIDDataset:
    """Load the data set that a specification names.

    Args:
        spec: ``NAME:PATH`` or ``NAME/VARIANT:PATH``, such as ``cuhk03-np/labeled:/d/cuhk03``. The first colon
            separates; ``~`` is the home folder.

    Returns:
        The data set; show its ``warnings`` to the user.

    Raises:
        SemreidError: If the name, the variant or the path does not exist, or the data is not as documented.

    Example:
        >>> load_dataset("market1501:/no/such/folder")
        Traceback (most recent call last):
        semreid.errors.SemreidError: there is no /no/such/folder
          way out: check the path; the form is NAME[/VARIANT]:PATH, and PATH is where the data lies
    """
    full_name, colon, location = spec.partition(":") if isinstance(spec, str) else ("", "", "")
    name, _, variant = full_name.partition("/")
    if not colon or not location:
        raise SemreidError(f"data {spec!r} is not of the form NAME[/VARIANT]:PATH", fix=_names())
    if name not in BENCHMARKS:
        close = difflib.get_close_matches(name, BENCHMARKS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise SemreidError(f"no data set is called {name!r}", fix=hint + _names())
    root = user_path(location)
    chosen = _choose_variant(name, variant)
    if not (root.is_dir() or (root.is_file() and name == "folder")):
        raise SemreidError(
            f"{root} is not a folder" if root.exists() else f"there is no {root}",
            fix="check the path; the form is NAME[/VARIANT]:PATH, and PATH is where the data lies",
        )
    dataset = BENCHMARKS[name].load(root, *([chosen] if chosen else []))
    lost = left_beside(dataset) if root.is_dir() else ()  # a CSV file names all its images
    return replace(dataset, warnings=(*dataset.warnings, *lost))


def left_beside(dataset: ReIDDataset) -> tuple[str, ...]:
    """Say which files are left out that lie beside the samples: in the root itself, and in the folders below it."""
    samples = (*dataset.train, *dataset.query, *dataset.gallery)
    tops = sorted({dataset.root / s.path.relative_to(dataset.root).parts[0] for s in samples if not s.item})
    folders = [top for top in tops if top.is_dir()]
    loose = left_out(dataset.root, nested=False) if len(folders) < len(tops) else ""
    return tuple(filter(None, (loose, left_out(*folders))))


def describe_benchmarks() -> str:
    """List every name, its variants and what it is, one per line, for help texts.

    Example:
        >>> print(describe_benchmarks().splitlines()[0])
        market1501: Market-1501
    """
    lines = []
    for name, benchmark in BENCHMARKS.items():
        variants = f" (variants: {benchmark.variant_names()})" if benchmark.variants else ""
        lines.append(f"{name}: {benchmark.title}{variants}")
    return "\n".join(lines)


def _choose_variant(name: str, variant: str) -> str:
    benchmark = BENCHMARKS[name]
    if not variant:
        return next(iter(benchmark.variants), "")
    if not benchmark.accepts(variant):
        known = benchmark.variant_names()
        fix = f"its variants are {known}" if known else f"it has none: write {name}:PATH"
        raise SemreidError(f"{name} has no variant {variant!r}", fix=fix)
    return variant


def _names() -> str:
    return "the names are " + ", ".join(BENCHMARKS)
