"""Running the application: the gallery and the model, an address, and who may ask there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from semreid.errors import SemreidError
from semreid.files import require_writable, user_path
from semreid.gallery import Gallery
from semreid.gallery.uri import require_kept
from semreid.models.card import read_calibration
from semreid.models.embedder import Embedder
from semreid.serving.app import create_app
from semreid.serving.guard import Access, is_local
from semreid.serving.service import Service
from semreid.verification.verifier import require_calibration

BACKLOG = 1024
"""Connections that may wait to be accepted."""


def open_service(
    uri: str,
    embedder: Embedder,
    *,
    calibration: Path | str = "",
    images: Sequence[Path],
    uploads: Path | None = None,
) -> Service:
    """Open a gallery to be served.

    Args:
        uri: The gallery; made if it is missing and rows may be added.
        embedder: The model that made it, or will make it.
        calibration: Run folder, card, exported file or ``calibration.json``; a zoo name keeps none.
        images: Folders whose pictures may be shown.
        uploads: Folder for the pictures of rows that are added; None: nobody may add or remove.

    Returns:
        The service; it owns the gallery.

    Raises:
        SemreidError: If there is no such gallery, calibration or folder, or the gallery or the calibration is that of
            another model.
    """
    require_kept(uri)
    folders, uploads = [user_path(folder) for folder in images], None if uploads is None else user_path(uploads)
    for folder in (*folders, *([uploads] if uploads and uploads.exists() else [])):
        if not folder.is_dir():
            raise SemreidError(f"{folder} is no folder for pictures", fix="check --images and --uploads")
    if uploads is not None:
        require_writable(uploads / "picture.png")
    gallery = Gallery.open(uri, dim=embedder.dim, fingerprint=embedder.fingerprint) if uploads else Gallery.open(uri)
    try:
        kept = read_calibration(calibration) if calibration else None
        if kept is not None:
            require_calibration(embedder, kept)  # one of another model is refused, not passed over
        return Service(gallery, embedder, calibration=kept, images=folders, uploads=uploads)
    except SemreidError:
        gallery.close()
        raise


def access_at(host: str, token: str = "", *, no_token: bool = False) -> Access:
    """Decide who may ask a server.

    Args:
        host: Address or name that it will listen at.
        token: What everybody must know; empty: all who reach the server may ask.
        no_token: Be reached from other machines without a token all the same.

    Returns:
        Who may ask.

    Raises:
        SemreidError: If other machines could ask without a token, or the token is short.
    """
    local = is_local(host)
    if not (local or token or no_token):
        raise SemreidError(
            f"at {host}, everybody who reaches this machine could search the gallery",
            fix="require a token (SEMREID_SERVE_TOKEN=... or --token), or allow it: --no-token",
        )
    return Access(token, local=local)


def serve(
    service: Service, access: Access, *, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[str], None] = print
) -> None:
    """Answer until interrupted.

    Args:
        service: What answers.
        access: Who may ask.
        host: Address or name to listen at.
        port: Port; 0 for any that is free.
        ready: Told the address once it is listened at.

    Raises:
        SemreidError: If the address cannot be had.
    """
    import uvicorn

    config = uvicorn.Config(
        create_app(service, access),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    with _listen(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host that can be no name
        raise SemreidError(
            f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', None) or error}",
            fix="choose another port with --port, or stop what uses it; --host is a name or an address of this machine",
        ) from error
