import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semreid.errors import SemreidError
from semreid.weights import read_tensors


class Bomb:
    """Would write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_reads_both_formats(tmp_path: Path, name: str) -> None:
    tensors = {"x": torch.arange(3.0)}
    (save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
    assert torch.equal(read_tensors(tmp_path / name)["x"], tensors["x"])


def test_unwraps_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"x": torch.ones(2)}}, tmp_path / "a.pth")
    assert list(read_tensors(tmp_path / "a.pth")) == ["x"]


def test_nothing_in_a_pickle_is_executed(tmp_path: Path) -> None:
    torch.save({"x": Bomb(tmp_path / "boom")}, tmp_path / "evil.pth")
    with pytest.raises(SemreidError, match="evil.pth holds more than tensors"):
        read_tensors(tmp_path / "evil.pth")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all"])
def test_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SemreidError, match=name):
        read_tensors(tmp_path / name)


def test_missing_file_and_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(SemreidError, match="no weights file"):
        read_tensors(tmp_path / "a.pth")
    torch.save({"x": 1}, tmp_path / "a.pth")
    with pytest.raises(SemreidError, match="holds no tensors"):
        read_tensors(tmp_path / "a.pth")
    torch.save([1], tmp_path / "a.pth")
    with pytest.raises(SemreidError, match="holds a list"):
        read_tensors(tmp_path / "a.pth")


@pytest.mark.parametrize("wrap", [
    lambda x: {f"module.{name}": tensor for name, tensor in x.items()},
    lambda x: {f"module._orig_mod.{name}": tensor for name, tensor in x.items()},
    lambda x: {f"_orig_mod.module._orig_mod.{name}": tensor for name, tensor in x.items()},
    lambda x: {"model": x, "epoch": 3, "optimizer": {"lr": 0.1}},
    lambda x: {"arch": "a", "state_dict": x, "best_acc1": torch.tensor(71.2), "optimizer": {"0": torch.ones(3)}},
    lambda x: {"state_dict": x, "best": torch.ones(1)},
    lambda x: {"model": x, "best": torch.tensor(71.2)},
    lambda x: {"state": {"model_state": {f"module.{name}": tensor for name, tensor in x.items()}}},
])  # fmt: skip
def test_what_trainers_put_around_weights_is_taken_off(tmp_path: Path, wrap) -> None:
    wanted = {"conv1.weight": torch.ones(2, 3), "module_list.bias": torch.zeros(2)}
    torch.save(wrap(wanted), tmp_path / "a.pth")
    found = read_tensors(tmp_path / "a.pth")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_weights_that_nobody_can_mean(tmp_path: Path) -> None:
    for content, message in [
        ({"model": {"x": torch.ones(1)}, "ema": {"x": torch.ones(1)}}, "several state dicts: model, ema"),
        ({"x": torch.tensor([1.0, float("nan")])}, "holds NaN or infinity in 'x'"),
        ({"x": torch.ones(1).expand(10**12)}, "'x' claims more values than the file holds"),
    ]:
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(SemreidError, match=f"a.pth.* {message}|a.pth.*{message}"):
            read_tensors(tmp_path / "a.pth")
    save_file({"x": torch.tensor([float("inf")])}, tmp_path / "a.safetensors")
    with pytest.raises(SemreidError, match="holds NaN or infinity in 'x'"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_file_that_would_unfold_in_memory(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(100_000)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as packed:
        for item in plain.infolist():
            packed.writestr(item.filename, plain.read(item))
    with pytest.raises(SemreidError, match="b.pth of .* bytes unfolds to"):
        read_tensors(tmp_path / "b.pth")
