"""Requests that cannot be answered."""

from __future__ import annotations

from semreid.errors import SemreidError


class RequestError(SemreidError):
    """A request that cannot be answered, with the status that says whose fault it is.

    Args:
        status: HTTP status.
        what: What is wrong.
        fix: What the caller can do about it.
    """

    def __init__(self, status: int, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.status = status
