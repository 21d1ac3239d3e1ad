import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from semreid.data.mat5 import require_sound

NAMES = np.array(["1_001_1_01.png", "é", ""], object).reshape(-1, 1)
VALUES = {
    "filelist": NAMES,
    "labels": np.array([[1], [700]]),
    "train_idx": np.array([1.0, 2.5]),
    "none": np.zeros((0, 0)),
}


def written(*, compressed: bool = False, **values: object) -> bytes:
    file = io.BytesIO()
    savemat(file, values or VALUES, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_what_scipy_writes_is_sound(compressed: bool) -> None:
    require_sound(written(compressed=compressed))


@pytest.mark.parametrize("values", [{"a": {"b": 1}}, {"a": 1j}])
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


def test_more_cells_than_there_are_is_refused() -> None:
    """SciPy would take 4 GB for this one."""
    content = bytearray(written(a=NAMES))
    content[128 + 35] = 0x20  # rows of the array: 3 + 2^29
    with pytest.raises(ValueError, match="a list is not as long as it says"):
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
