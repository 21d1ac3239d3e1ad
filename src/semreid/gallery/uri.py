"""What the URI of a gallery names: where its rows are kept."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from semreid.errors import SemreidError
from semreid.gallery.entry import Meta
from semreid.gallery.memory import MemoryStore
from semreid.gallery.milvus import MilvusStore, is_lite
from semreid.gallery.store import Store, missing, without_password

FORMS = (
    "the forms are FILE.parquet, FOLDER.db, http://HOST:PORT[/DATABASE][?OPTIONS][#NAME] of Milvus, and "
    "serve:http://HOST:PORT"
)
MEMORY = "memory:"


def require_kept(uri: str) -> str:
    """Return the URI of a gallery, unless it is gone when a command ends.

    Raises:
        SemreidError: If it is kept in memory alone, which is for Python.
    """
    if uri == MEMORY:
        raise SemreidError(f"{MEMORY} is empty, and gone when the command ends", fix=f"keep the gallery: {FORMS}")
    return uri


def open_store(uri: str, meta: Meta | None) -> Store:
    """Open what a URI names, or make it with ``meta``."""
    _require_place(uri)
    if uri == MEMORY:
        if meta is None:
            raise SemreidError(
                f"{MEMORY} is empty when it is opened",
                fix=f"in Python, say how wide its vectors will be: dim=...; for one that is kept, {FORMS}",
            )
        return MemoryStore(meta)
    if uri.startswith("serve:"):
        from semreid.gallery.remote import RemoteStore

        return RemoteStore.open(uri)
    if uri.startswith(("http://", "https://")) or is_lite(uri):
        return MilvusStore.open(uri, meta)
    if "://" in uri or not uri.endswith(".parquet"):
        raise SemreidError(f"{without_password(uri)!r} names no gallery", fix=FORMS)
    file = Path(uri).expanduser()
    if file.exists():
        return MemoryStore.load(file)
    if meta is None:
        raise missing(uri)
    return MemoryStore(meta, file)


def _require_place(uri: str) -> None:
    """Refuse what can be no address and no file."""
    if re.search("://[^@]*[/?#].*@", uri):
        raise SemreidError(
            f"{without_password(uri)!r} names no gallery: its name or password holds /, ? or #",
            fix="write %2F, %3F or %23 instead",
        )
    try:
        if "://" in uri:
            _ = urlsplit(uri.removeprefix("serve:")).port
        else:
            Path(uri).expanduser().exists()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a home folder of nobody
        raise SemreidError(f"{without_password(uri)[:200]!r} names no gallery: {error}", fix=FORMS) from error
