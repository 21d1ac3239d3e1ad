import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from scipy.sparse import csr_array

from semreid.data.mat5 import require_sound

NAMES = np.array(["1_001_1_01.png", "é", ""], object).reshape(-1, 1)
VALUES = {
    "filelist": NAMES,
    "labels": np.array([[1], [700]]),
    "train_idx": np.array([1.0, 2.5]),
    "none": np.zeros((0, 0)),
    "nested": {"train": {"hat": np.array([1, 2], np.uint8), "names": NAMES}, "test": {"hat": 3}},
}


def written(*, compressed: bool = False, **values: object) -> bytes:
    file = io.BytesIO()
    savemat(file, values or VALUES, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_sound(compressed: bool) -> None:
    require_sound(written(compressed=compressed))


@pytest.mark.parametrize("values", [{"a": csr_array([[0.0, 1.0]])}, {"a": 1j}])
def test_what_no_split_file_holds_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=r"more than numbers|not one part"):
        require_sound(written(**values))


def test_a_list_that_is_read_as_numbers_is_refused() -> None:
    """SciPy ends the process over this one."""
    content = bytearray(written(a=NAMES))
    assert content[128 + 16] == 1  # the class of the array: cells
    content[128 + 16] = 9  # 8-bit integers
    with pytest.raises(ValueError, match="not one part"):
        require_sound(content)


def test_complex_numbers_without_their_second_part_are_refused() -> None:
    """Over this one, too."""
    content = bytearray(written(a=np.ones(3)))
    content[128 + 17] |= 8
    with pytest.raises(ValueError, match="not one part"):
        require_sound(content)


def test_an_array_without_sides_is_refused() -> None:
    """And over this one, with a struct around it."""
    content = bytearray(written(a={"b": np.array([1, 2], np.uint8)}))
    sides = content.rindex((5).to_bytes(4, "little") + (8).to_bytes(4, "little"))
    content[sides + 4] = 0
    with pytest.raises(ValueError, match="less than two"):
        require_sound(content)


def test_more_cells_than_there_are_is_refused() -> None:
    """SciPy would take 4 GB for this one."""
    content = bytearray(written(a=NAMES))
    content[128 + 35] = 0x20  # rows of the array: 3 + 2^29
    with pytest.raises(ValueError, match="a list is not as long as it says"):
        require_sound(content)


@pytest.mark.parametrize(("place", "value"), [(0, 0), (0, 7), (3, 0x80), (8 + 3, 1)])
def test_fields_of_a_struct_that_are_not_what_they_say(place: int, value: int) -> None:
    content = bytearray(written(a={"bc": 1, "de": 2}))
    width = content.index(b"bc\0") - 12  # letters a name may have, and then kind and size of the names
    assert content[width : width + 4] == (3).to_bytes(4, "little")
    content[width + place] = value
    with pytest.raises(ValueError, match=r"fields|cut short"):
        require_sound(content)


@given(place=st.integers(128 * 8, len(written()) * 8 - 1))
@settings(deadline=None, max_examples=200)
def test_what_passes_is_small_and_what_does_not_is_a_plain_error(place: int) -> None:
    content = bytearray(written())
    content[place // 8] ^= 1 << place % 8
    try:
        require_sound(content)
        found = loadmat(io.BytesIO(content))
    except Exception:
        return
    assert sum(np.size(value) for name, value in found.items() if not name.startswith("__")) < 100
