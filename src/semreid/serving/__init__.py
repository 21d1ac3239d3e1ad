"""The web page and the programming interface of one gallery: ``semreid serve``."""

from __future__ import annotations

from importlib import import_module

from semreid.errors import SemreidError


def require_web() -> None:
    """See that the packages of the web server are here.

    Raises:
        SemreidError: If one is missing.
    """
    try:
        for name in ("fastapi", "uvicorn", "jinja2", "python_multipart"):
            import_module(name)
    except ImportError as error:
        raise SemreidError(f"serving needs {error.name}", fix="pip install 'semreid[serve]'") from error
