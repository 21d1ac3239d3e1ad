"""Pages from templates, and how numbers and times look on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from semreid.version import __version__

HERE = Path(__file__).parent
EPOCH = 1e8
"""Timestamps from here on are taken as seconds since 1970 (this is 1973); smaller ones as seconds of a recording."""


def time_text(seconds: float | None) -> str:
    """Write a timestamp for people.

    Args:
        seconds: Since 1970 (shown in UTC) if from 1973 on, else since the start of a recording.

    Returns:
        The text; empty for None.

    Example:
        >>> time_text(1714746127.0), time_text(83.5)
        ('2024-05-03 14:22:07', '0:01:23.5')
    """
    if seconds is None:
        return ""
    if seconds < EPOCH:
        return str(timedelta(seconds=round(seconds, 1))).removesuffix("00000")
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"{seconds:,.0f} s"


def span_text(first: float, last: float) -> str:
    """Write a span of time for people, its day once.

    Args:
        first: Its start, as in `time_text`.
        last: Its end.

    Returns:
        The text.

    Example:
        >>> span_text(1714746127.0, 1714750000.0)
        '2024-05-03 14:22:07 to 15:26:40 UTC'
    """
    start, end = time_text(first), time_text(last)
    if first >= EPOCH and start[:10] == end[:10]:
        end = end[11:]
    return f"{start} to {end}{' UTC' if first >= EPOCH else ''}"


def percent_text(probability: float) -> str:
    """Write a probability without ever rounding it to certainty.

    Args:
        probability: Between 0 and 1.

    Returns:
        The text.

    Example:
        >>> percent_text(0.834), percent_text(0.9996), percent_text(0.0002)
        ('83 %', '> 99.9 %', '< 0.1 %')
    """
    if probability > 0.999:
        return "> 99.9 %"
    if probability < 0.001:
        return "< 0.1 %"
    digits = 0 if 0.1 <= probability <= 0.9 else 1
    return f"{100 * probability:.{digits}f} %"


_templates = Jinja2Templates(HERE / "templates")
_templates.env.filters.update(time=time_text, until=span_text, percent=percent_text)
_templates.env.globals.update(version=__version__, epoch=EPOCH)
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


def render(
    request: Request,
    name: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Fill a template.

    Args:
        request: The request it answers.
        name: The template.
        values: What it shows; escaped there.
        status: HTTP status.
        headers: Further headers.

    Returns:
        The page.
    """
    return _templates.TemplateResponse(request, name, dict(values), status, headers)
