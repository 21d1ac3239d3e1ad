"""No file of any kind, however damaged, raises anything but the error that names it."""

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from semreid.data.annotations import read_journal
from semreid.data.benchmarks.cuhk03 import _read_config
from semreid.data.store import _require_atlas
from semreid.errors import SemreidError
from semreid.functional.calibration import calibrate
from semreid.gallery import Entry, Gallery
from semreid.gallery.parquet import read_features
from semreid.models.card import Card, read_calibration, read_card, save_model
from semreid.models.loading import load_model
from semreid.models.zoo import create_model
from semreid.reading import MOST_ARRAY, Object, parse_json, parse_yaml, read_array, read_bytes, read_json, reading
from semreid.teachers.maps import read_label_map
from semreid.training.checkpoint import load_checkpoint, save_checkpoint
from semreid.training.recipe import Recipe, dump_recipe, load_recipe
from semreid.weights import read_tensors
from tests.functional.test_pairs import crowd

Reader = Callable[[Path], object]
MODEL = {"name": "baseline", "num_ids": 3, "trunk": "resnet18", "width": 0.0625, "size": [32, 16]}
STATE = {"epoch": 1, "model": {"x": torch.ones(3)}, "history": [{"a": 1.0}]}


def write_card(path: Path) -> None:
    model = create_model(**{**MODEL, "size": (32, 16)})
    origin = {"dataset": "people", "identities": 3, "sketch": ["ab"], "before": {"pretrained": {"dataset": "x"}}}
    save_model(path.parent, model, Card(model=MODEL, trained_on=origin, terms="free", seed=1))


def write_gallery(path: Path) -> None:
    rows = [Entry(id=f"{i}", path=f"/d/{i}.jpg", pid="1", camid=i, tags=("a",)) for i in range(9)]
    with Gallery.open(path, dim=4, fingerprint="f") as gallery:
        gallery.add(np.eye(9, 4) + 0.1, rows)


def write_mat(path: Path) -> None:
    pytest.importorskip("scipy.io").savemat(path, {"labels": [1, 2], "filelist": ["1_001_1_01.png"], "train_idx": [1]})


def recipe_text() -> str:
    return dump_recipe(Recipe())


FILES: dict[str, tuple[Callable[[Path], object], Reader]] = {
    "card.json": (write_card, read_card),
    "calibration.json": (
        lambda path: path.write_text(json.dumps({"calibration": asdict(calibrate(*crowd(people=120, noise=0.8))[0])})),
        read_calibration,
    ),
    "recipe.yaml": (lambda path: path.write_text(recipe_text()), load_recipe),
    "a.safetensors": (lambda path: save_file({"x": torch.ones(3), "y": torch.ones(2, 2)}, path), read_tensors),
    "a.pth": (lambda path: torch.save({"state_dict": {"x": torch.ones(3)}}, path), read_tensors),
    "checkpoint.pt": (
        lambda path: save_checkpoint(path, {**STATE, "recipe": recipe_text()}),
        lambda path: load_checkpoint(path, Recipe()),
    ),
    "g.parquet": (write_gallery, lambda path: Gallery.open(path).search(np.eye(4), 2)),
    "e.parquet": (write_gallery, lambda path: list(read_features(path, Gallery.open(path)._store.meta))),
    "a.npy": (lambda path: np.save(path, np.ones((3, 4), np.uint8)), read_label_map),
    "a.npz": (lambda path: np.savez(path, np.ones((3, 4), np.uint8)), read_label_map),
    "split.mat": (write_mat, _read_config),
    "labels.jsonl": (lambda path: path.write_text('["a.jpg", 0.5, "ab"]\n["b.jpg", null, "cd"]\n'), read_journal),
    "teachers.json": (
        lambda path: path.write_text('{"teachers": ["ab"], "atlas": 1}'),
        lambda p: _require_atlas(p.parent),
    ),
}
UNKIND = [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"9" * 5_000, b'{"format": 1}', b'"\\ud800"', b"a: !!bool x"]
VALUES = [None, -1, 0, 0.5, 1000, 10**30, "6", "", [], ["x"], [10**6, 10**6], {}, {"x": []}]
ANY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=list(FILES))
def kind(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Reader]:
    """A sound file of each kind, its content, and what reads it."""
    write, read = FILES[request.param]
    path = tmp_path_factory.mktemp("sound") / request.param
    write(path)
    read(path)
    return path, path.read_bytes(), read


@ANY
@given(data=st.data())
def test_damage_is_the_error_that_names_the_file_or_nothing(kind: tuple[Path, bytes, Reader], data) -> None:
    path, sound, read = kind
    content = bytearray(sound)
    if path.suffix == ".mat":  # SciPy reads beyond what it has read if a length is wrong
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(1, 3)) if path.suffix != ".mat" else 0):
        place = data.draw(st.integers(0, len(content)))
        piece = data.draw(st.binary(max_size=4) | st.sampled_from([b"9" * 30, b"null", b"-1", b'"x"', b"[", b"1e999"]))
        content[place : place + data.draw(st.sampled_from([0, 1, 4, len(piece)]))] = piece
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    with suppress(SemreidError):
        read(path)


@pytest.mark.parametrize("content", UNKIND)
def test_other_content_is_the_error_that_names_the_file_or_nothing(kind, content: bytes) -> None:
    path, _, read = kind
    path.write_bytes(content)
    with suppress(SemreidError):
        read(path)


@ANY
@given(data=st.data())
def test_a_card_with_any_value_changed(tmp_path_factory, data) -> None:
    """Of another type, or out of all bounds: the card or the model of it is refused in our words, at once."""
    path = tmp_path_factory.getbasetemp() / "card" / "card.json"
    if not path.exists():
        path.parent.mkdir()
        write_card(path)
    sound = json.loads(path.read_text())
    part = data.draw(st.sampled_from([sound, sound["model"], sound["trained_on"]]))
    key = data.draw(st.sampled_from(sorted(part)))
    before = part[key]
    part[key] = data.draw(st.sampled_from(VALUES))
    changed = path.parent.parent / "changed" / "card.json"
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(json.dumps(sound))
    if not (weights := changed.with_name("model.safetensors")).exists():
        weights.symlink_to(path.with_name("model.safetensors"))
    part[key] = before
    with suppress(SemreidError):
        load_model(changed.parent).info()


def test_aliases_may_repeat_but_not_multiply(tmp_path: Path) -> None:
    assert parse_yaml("{a: &x [1, 2], b: *x, c: *x}", "r") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{new}: &{new} [{','.join(['*' + old] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    began = time.perf_counter()
    for text in ("\n".join(lines), "&a [*a]", "x: &a {y: *a}"):
        with pytest.raises(SemreidError, match="r.yaml is not YAML: it holds more than 10,000 values"):
            parse_yaml(text, "r.yaml")
    assert time.perf_counter() - began < 2
    with pytest.raises(SemreidError, match="is longer than 262,144 bytes"):
        parse_yaml("#" * 300_000, "r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim: {lr: 1}\ndata: {}\noptim: {clip: 1}\n", "the key 'optim' is there twice, in lines 1 and 3"),
        ("a: {b: 1, b: 2}", "the key 'b' is there twice, in lines 1 and 1"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(text: str, message: str) -> None:
    with pytest.raises(SemreidError, match=f"r.yaml is not YAML: {message}"):
        parse_yaml(text, "r.yaml")
    assert parse_yaml("x: &x {a: 1, b: 2}\ny: {<<: *x, a: 3}\nz: {<<: *x}", "r")["y"] == {"a": 3, "b": 2}
    assert parse_yaml("{1: a, '1': b}", "r") == {1: "a", "1": "b"}


def test_json_is_read_in_its_shape_only() -> None:
    assert parse_json(b'{"a": [1]}', Object, "a.json") == {"a": [1]}
    for text in ('{"a": NaN}', "[1]", "{", "", '{"a": 1}}'):
        with pytest.raises(SemreidError, match=r"^a\.json"):
            parse_json(text, Object, "a.json")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"123456")
    for name, message in (
        ("pipe", "no regular file"),
        (".", "no regular file"),
        ("none", "No such file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(SemreidError, match=message):
            read_bytes(tmp_path / name)
    with pytest.raises(SemreidError, match="longer than 5 bytes"):
        read_bytes(tmp_path / "long", 5)
    with pytest.raises(SemreidError, match="long.*'x' is missing"), reading(tmp_path / "long"):
        {}["x"]


def header(shape: str, kind: str = "|u1") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_arrays_are_bounded_by_what_they_announce(tmp_path: Path) -> None:
    for order in "CF":
        wanted = np.asarray(np.arange(12.0).reshape(3, 4), order=order)
        np.save(tmp_path / "a.npy", wanted)
        np.savez_compressed(tmp_path / "a.npz", first=wanted, second=wanted + 1)
        np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), wanted)
        np.testing.assert_array_equal(read_array(tmp_path / "a.npz"), wanted)
    for content in (
        header("(99999, 99999)"),
        header("(-1, 4)"),
        header("(2,)"),
        header("(2,)", "|O"),
        b"\x93NUMPY\x03\x00",
    ):
        (tmp_path / "b.npy").write_bytes(content)
        with pytest.raises(SemreidError, match="b.npy"):
            read_array(tmp_path / "b.npy")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header(f"({MOST_ARRAY + 1},)") + bytes(10**7))
    (tmp_path / "b.npz").write_bytes(packed.getvalue())
    with pytest.raises(SemreidError, match="b.npz"):
        read_array(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz")
    with pytest.raises(SemreidError, match="c.npz.* holds no array"):
        read_array(tmp_path / "c.npz")


def test_json_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json", Object) == {"a": 1}
    with pytest.raises(SemreidError, match="longer than 4 bytes"):
        read_json(tmp_path / "a.json", Object, most=4)
