"""The application: routes, what guards them, and how errors are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from semreid.errors import SemreidError
from semreid.serving import api, pages, people, refusal, store
from semreid.serving.guard import Access, Bounded, Guard, Headed
from semreid.serving.metrics import Measured, Metrics
from semreid.serving.service import Service
from semreid.serving.templating import HERE
from semreid.version import __version__


def create_app(service: Service, access: Access | None = None) -> ASGIApp:
    """Make the web application of a service; it closes the service when it ends.

    Args:
        service: What answers.
        access: Who may ask; this machine only, without a token, if None.

    Returns:
        The application, for any ASGI server.
    """
    metrics = Metrics()
    app = FastAPI(
        title="semreid",
        version=__version__,
        summary="Search one gallery of person crops.",
        docs_url=None,  # the usual pages load scripts from elsewhere; /programs shows the same
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.service, app.state.metrics, app.state.access = service, metrics, access or Access()
    for router in (api.router, api.monitors, store.router, people.router, pages.router, people.pages):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for kind in (SemreidError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refusal.on_error)
    return Headed(Measured(Guard(Bounded(app), app.state.access), metrics))


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    counting = asyncio.create_task(_count(service))
    try:
        yield
    finally:
        counting.cancel()
        await service.settle()
        service.close()


async def _count(service: Service) -> None:
    """Count the gallery once before anybody asks; if it does not answer now, whoever asks is told why."""
    with contextlib.suppress(SemreidError):
        await service.stats()
