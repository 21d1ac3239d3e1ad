"""Pages from templates, and how numbers and times look on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from semreid.data.times import EPOCH
from semreid.explain.texts import grounds_text, percent_text, time_text
from semreid.serving.answers import picture_url
from semreid.version import __version__

HERE = Path(__file__).parent


def short_time(seconds: float | None) -> str:
    """Write a timestamp where it is known that dates are in UTC.

    Args:
        seconds: As in `semreid.explain.texts.time_text`, or None.

    Returns:
        The text; empty for None.

    Example:
        >>> short_time(1714746127.0), short_time(None)
        ('2024-05-03 14:22:07', '')
    """
    return "" if seconds is None else time_text(seconds).removesuffix(" UTC")


def field_time(seconds: float | None) -> str:
    """Write a timestamp as the field of a form holds it.

    Args:
        seconds: As in `short_time`.

    Example:
        >>> field_time(1714746127.0), field_time(12.5), field_time(None)
        ('2024-05-03T14:22:07', '12.5', '')
    """
    text = short_time(seconds)
    return text.replace(" ", "T") if seconds is None or seconds >= EPOCH else str(seconds)


def span_text(first: float, last: float) -> str:
    """Write a span of time for people, its day once.

    Args:
        first: Its start, as in `short_time`.
        last: Its end.

    Example:
        >>> span_text(1714746127.0, 1714750000.0)
        '2024-05-03 14:22:07 to 15:26:40 UTC'
    """
    start, end = short_time(first), short_time(last)
    if first >= EPOCH and start[:10] == end[:10]:
        end = end[11:]
    return f"{start} to {end}{' UTC' if first >= EPOCH else ''}"


_templates = Jinja2Templates(HERE / "templates")
_templates.env.filters.update(time=short_time, moment=field_time, until=span_text, percent=percent_text)
_templates.env.globals.update(version=__version__, epoch=EPOCH, grounds=grounds_text, picture_url=picture_url)
_templates.env.trim_blocks = _templates.env.lstrip_blocks = True


def render(
    request: Request,
    name: str,
    values: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Fill a template with values, which are escaped there."""
    return _templates.TemplateResponse(request, name, dict(values), status, headers)
