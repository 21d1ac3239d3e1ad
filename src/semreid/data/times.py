"""Times as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from semreid.errors import SemreidError


def seconds(text: str) -> float | None:
    """Read a time; a date without a zone is in UTC, the same on every machine.

    Args:
        text: Seconds, or a date and time of ISO 8601; may be empty.

    Returns:
        Seconds, since 1970 where it is a date; None if empty.

    Raises:
        SemreidError: If it is neither.

    Example:
        >>> seconds("90.5"), seconds("2024-05-03T14:22:07"), seconds("")
        (90.5, 1714746127.0, None)
    """
    if not text:
        return None
    if re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d{1,2})?", text, re.ASCII | re.IGNORECASE) and len(text) < 32:
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SemreidError(
            f"cannot read the time {text[:40]!r}", fix="write seconds, or ISO 8601, such as 2024-05-01T12:30:00+02:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
