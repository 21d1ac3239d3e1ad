"""Times as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from semreid.errors import SemreidError

EPOCH = 1e8
"""Timestamps from here on are seconds since 1970 (this is 1973); smaller ones are seconds of a recording."""
LATEST = 32_503_680_000.0
"""The year 3000, in seconds since 1970: what is beyond was milliseconds, or a date in digits."""
_ISO = "ISO 8601, such as 2024-05-01T12:30:00+02:00"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_MONTH = r"(?:19[7-9]|20\d)\d(?:0[1-9]|1[0-2])"
_PERIOD = re.compile(rf"{_MONTH}|(?:19[7-9]|20\d)\d", re.ASCII)
_DAY = re.compile(rf"{_MONTH}(?:0[1-9]|[12]\d|3[01])(\.0*)?", re.ASCII)  # of digits, pandas makes fractions


def seconds(text: str, *, alone: bool = True) -> float | None:
    """Read a time; a date without a zone is in UTC, the same on every machine.

    Args:
        text: Seconds, or a date and time of ISO 8601; may be empty.
        alone: Digits that may be a year or a month are refused. In a column with others they are seconds, as long as
            `may_be_period` does not hold for all of them.

    Returns:
        Seconds, since 1970 where it is a date; None if empty.

    Raises:
        SemreidError: If it is neither, may be either, or lies beyond the year 3000 or as long before 1970.

    Example:
        >>> seconds("90.5"), seconds("2024-05-03T14:22:07"), seconds("+2025"), seconds("")
        (90.5, 1714746127.0, 2025.0, None)
    """
    if not text:
        return None
    if _DAY.fullmatch(text) or (alone and may_be_period(text)):
        raise _either(text)
    is_number = _NUMBER.fullmatch(text) is not None
    value = float(text) if is_number else _since_1970(text)
    if abs(value) > LATEST:
        raise SemreidError(
            f"the time {text[:40]!r}{', read as seconds,' * is_number} is beyond the year 3000, or as long before 1970",
            fix=f"write seconds (of milliseconds, a thousandth), or {_ISO}",
        )
    return value


def time_code(time: float) -> str:
    """Write a time as `seconds` reads it.

    Args:
        time: Seconds, since 1970 or since the start of a recording.

    Returns:
        ISO 8601 in UTC of a time since 1970, to the microsecond; else the number.

    Example:
        >>> time_code(1714746127.0), time_code(83.5)
        ('2024-05-03T14:22:07Z', '83.5')
    """
    if not EPOCH <= abs(time) <= LATEST:
        return str(time)
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def may_be_period(text: str) -> bool:
    """Tell whether digits may be a year or a month of our time as well as seconds.

    Example:
        >>> may_be_period("2025"), may_be_period("202512"), may_be_period("+2025"), may_be_period("2025.0")
        (True, True, False, False)
    """
    return _PERIOD.fullmatch(text) is not None


def _either(text: str) -> SemreidError:
    digits = text.partition(".")[0]
    year, month, day = digits[:4], digits[4:6] or "01", digits[6:8] or "01"
    number = f"{digits}.0" if may_be_period(digits) else f"+{digits}"  # forms for numbers take no sign
    return SemreidError(
        f"the time {digits!r} may be a date or a number of seconds",
        fix=f"write the date as {year}-{month}-{day}, or the seconds as {number}",
    )


def _since_1970(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SemreidError(f"cannot read the time {text[:40]!r}", fix=f"write seconds, or {_ISO}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
