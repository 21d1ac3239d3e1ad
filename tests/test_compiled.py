import numba
import numpy as np

from semreid.compiled import compiled


def double(values):
    return values * 2


def test_where_no_cache_can_be_written_the_kernel_is_compiled_without(monkeypatch):
    njit = numba.njit

    def without_locator(function, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(function, **options)

    monkeypatch.setattr(numba, "njit", without_locator)
    assert compiled(double)(np.ones(2)).tolist() == [2, 2]
