"""MSMT17 (Wei et al., CVPR 2018), versions 1 and 2."""

from __future__ import annotations

import re
from pathlib import Path

from semreid.data.listing import Count, expect_counts, lift_pids, match_name, require_folder
from semreid.data.sample import Protocol, ReIDDataset, Sample
from semreid.errors import SemreidError

IMAGE_NAME = re.compile(r"\d+_\d+_(\d+)_", re.ASCII)
TEST = {"query": Count(3_060, 11_659), "gallery": Count(3_060, 82_161)}
PUBLISHED = {
    "trainval": {"train": Count(1_041, 32_621), **TEST},
    "train": {"train": Count(1_041, 30_248), **TEST},
}
FOLDERS = {"V2": ("mask_train_v2", "mask_test_v2"), "V1": ("train", "test")}


def load(root: Path, variant: str = "trainval") -> ReIDDataset:
    """Load MSMT17; the version is told by the folders and goes into the protocol note.

    Layout: ``train`` and ``test`` (V1), or ``mask_train_v2`` and ``mask_test_v2`` (V2: faces masked), with
    ``list_{train,val,query,gallery}.txt`` of lines ``PATH PID``. The camera (1-15) is the third field of the
    file name, as in ``0000_000_01_0303morning_0015_0.jpg``. Copies without the lists cannot be judged.

    The lists number the people of both halves from 0, although they are different people, and 0 means
    distractor here. So training ids are lifted by 1, and test ids to follow the last of those.

    Two training conventions are in use: ``trainval`` (list_train and list_val, most papers) and ``train``
    (list_train only). A report must say which.

    Published (docs/protocols.md#msmt17), identities and images: train 1,041, 32,621, of which 2,373 in
    list_val; query 11,659 and gallery 82,161 of 3,060 people.
    """
    version = "V2" if (root / FOLDERS["V2"][0]).is_dir() else "V1"
    train_folder, test_folder = (require_folder(root / name) for name in FOLDERS[version])
    train, val = (_read_list(root / f"list_{part}.txt", train_folder) for part in ("train", "val"))
    query, gallery = (_read_list(root / f"list_{part}.txt", test_folder) for part in ("query", "gallery"))
    first_test = 2 + max(s.pid for s in train + val)
    dataset = ReIDDataset(
        f"msmt17/{variant}",
        root,
        train=lift_pids(train + val if variant == "trainval" else train, by=1),
        query=lift_pids(query, by=first_test),
        gallery=lift_pids(gallery, by=first_test),
        protocol=Protocol(note=f"MSMT17 {version}, trained on {variant}"),
        terms="MSMT17: real people; academic research only, no redistribution",
    )
    return expect_counts(dataset, PUBLISHED[variant])


def _read_list(path: Path, folder: Path) -> list[Sample]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SemreidError(
            f"cannot read {path}: {error}", fix="MSMT17 needs its four list files, beside the image folders"
        ) from error
    samples = [_read_line(f"{path}, line {n}", text, folder) for n, text in enumerate(lines, 1) if text.strip()]
    if not samples:
        raise SemreidError(f"{path} lists no image")
    return samples


def _read_line(where: str, text: str, folder: Path) -> Sample:
    name, _, pid = text.strip().rpartition(" ")
    if not name or not re.fullmatch(r"\d+", pid, re.ASCII):
        raise SemreidError(f"{where}: {text!r} is not of the form 'PATH PID'")
    image = folder / name
    if not image.is_file():
        raise SemreidError(f"{where}: there is no image {image}", fix="unpack the data set again, completely")
    camid = match_name(IMAGE_NAME, image, "PPPP_NNN_CC_...jpg")[1]
    return Sample(image, int(pid), int(camid), identity=pid)
