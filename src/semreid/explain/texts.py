"""How numbers, times and marks read on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from semreid.data.times import EPOCH

MARKS = {True: "right", False: "wrong", None: "unknown"}
GLYPHS = {True: "✓", False: "✗", None: "?"}
MEANINGS = {True: "labelled as this person", False: "labelled as another person", None: "without a label"}


def time_text(seconds: float) -> str:
    """Write a timestamp.

    Args:
        seconds: Since 1970, shown in UTC, or since the start of a recording.

    Example:
        >>> time_text(1714746127.0), time_text(83.5), time_text(-5.0)
        ('2024-05-03 14:22:07 UTC', '0:01:23.5', '-0:00:05')
    """
    if abs(seconds) < EPOCH:
        text = str(timedelta(seconds=round(abs(seconds), 1))).removesuffix("00000")
        return f"-{text}" if seconds < 0 else text
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"{seconds:,.0f} s"


def percent_text(share: float) -> str:
    """Write a probability, never rounded to certainty.

    Args:
        share: Between 0 and 1.

    Example:
        >>> percent_text(0.834), percent_text(0.9996), percent_text(0.0002), percent_text(0.034)
        ('83 %', '> 99.9 %', '< 0.1 %', '3.4 %')
    """
    if share > 0.999:
        return "> 99.9 %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.{0 if 0.1 <= share <= 0.9 else 1}f} %"


def grounds_text(prior: float, basis: str) -> str:
    """Say what a probability rests on besides similarity: without it, a small one beside a right match is a riddle.

    Example:
        >>> grounds_text(0.025, "calibrated on 600 people")
        'before looking 2.5 %, one in 40; calibrated on 600 people'
    """
    return f"before looking {percent_text(prior)}, one in {1 / prior:,.0f}; {basis}"
