"""Filters as expressions of a vector database, out of which no text can break.

Newer servers can fill placeholders of an expression themselves; 2.3 cannot, and a quoted literal is the same
everywhere: a backslash goes before each quote and backslash, and `Filter` lets no control character in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from semreid.gallery.entry import Filter


def expression(where: Filter) -> str:
    r"""Write a filter in the language of Milvus.

    Returns:
        The expression; empty if the filter asks for nothing.

    Example:
        >>> print(expression(Filter(camids=[1, 2], since=60, pids=['a"b'], tags=["night"])))
        camid in [1, 2] and timestamp >= 60.0 and pid in ["a\"b"] and array_contains(tags, "night")
    """
    parts = []
    if where.camids:
        parts.append(f"camid in {list(where.camids)}")
    if where.exclude_camids:
        parts.append(f"camid not in {list(where.exclude_camids)}")
    if where.since is not None:
        parts.append(f"timestamp >= {where.since!r}")
    if where.until is not None:
        parts.append(f"timestamp < {where.until!r}")
    if where.pids:
        parts.append(f"pid in {literal(where.pids)}")
    parts.extend(f"array_contains(tags, {literal(tag)})" for tag in where.tags)
    return " and ".join(parts)


def by_id(ids: Sequence[str]) -> str:
    """Ask for rows by their ids.

    Example:
        >>> print(by_id(["a", "b"]))
        id in ["a", "b"]
    """
    return f"id in {literal(ids)}"


def behind(last: str, where: Filter) -> str:
    """Ask for the rows behind an id in the order of ids; for all, where it is empty.

    Example:
        >>> print(behind("a", Filter(camids=[1])))
        id > "a" and camid in [1]
    """
    return " and ".join(filter(None, [f"id > {literal(last)}" if last else "", expression(where)]))


def literal(value: str | Sequence[str]) -> str:
    r"""Quote a text or a list of texts, without control characters: of others, JSON and Milvus write alike.

    Example:
        >>> print(literal('say "no\\yes"'))
        "say \"no\\yes\""
    """
    return json.dumps(value, ensure_ascii=False)
