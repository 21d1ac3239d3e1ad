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
