"""The one exception that is meant for the eyes of a user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class SemreidError(ValueError):
    """A job that cannot be done honestly: says what is wrong and where, and the way out.

    The command line prints it without a traceback and exits with status 1.

    Args:
        what: What is wrong, with the file, row or key where it is.
        fix: What the user can do about it; may be empty when ``what`` already says so.

    Example:
        >>> print(SemreidError("/d/market has no folder 'query'", fix="point to the folder that holds it"))
        /d/market has no folder 'query'
          way out: point to the folder that holds it
    """

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what}\n  way out: {fix}" if fix else what)
        self.what = what
        self.fix = fix


@contextlib.contextmanager
def located(where: object) -> Iterator[None]:
    """Say of an error where it is: in which file, row or crop.

    Raises:
        SemreidError: As inside, with ``where`` before what is wrong.
    """
    try:
        yield
    except SemreidError as error:
        raise SemreidError(f"{where}: {error.what}", fix=error.fix) from error
