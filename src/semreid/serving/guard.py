"""Who may ask, and how much at a time: tokens, hosts, origins, security headers, bounded bodies."""

from __future__ import annotations

import asyncio
import codecs
import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote_from_bytes, urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semreid.errors import SemreidError
from semreid.gallery.wire import ODD_TOKEN, can_travel
from semreid.serving.errors import RequestError
from semreid.serving.pictures import MAX_UPLOAD
from semreid.serving.refusal import refusal

COOKIE = "semreid"
SHORTEST_TOKEN = 16
OPEN = ("/healthz", "/login", "/static/")
"""Paths that need no token: they tell nothing about people."""
ACTIVE, WAITING = 16, 1000
"""Requests with a body that are worked on at once (so at most 16 bodies of 16 MiB are in memory), and that wait."""
SLOWEST = 60.0
"""Seconds in which a body must have come."""
BURST, PAUSE, ADDRESSES = 10, 10.0, 10_000
"""Wrong tokens that an address may send at once, seconds until it may send another one, and addresses to remember."""
NOT_UTF8 = "the request is written in another charset than UTF-8"
ASCII = bytes(range(128))
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
SAFE = {"GET", "HEAD", "OPTIONS"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guesses:
    """How many wrong tokens each address may still send: ten at once, then one in a while."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, float]] = {}

    def left(self, address: str) -> float:
        """Return how many wrong tokens may come from an address now."""
        left, since = self._spent.get(address, (float(BURST), 0.0))
        return min(BURST, left + (time.monotonic() - since) / PAUSE)

    def spend(self, address: str) -> None:
        """Note a wrong token; of too many addresses, those that guessed longest ago are forgotten."""
        left = self.left(address) - 1
        self._spent.pop(address, None)
        self._spent[address] = left, time.monotonic()
        if len(self._spent) > ADDRESSES:
            del self._spent[next(iter(self._spent))]


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: What a program sends as ``Authorization: Bearer TOKEN`` and a person types once; empty: all may ask.
        local: Whether the server is meant for this machine only. Then, without a token, it answers only requests
            addressed to this machine by name, so that no web page can reach it through a name of its own.
        session: What the cookie of somebody who has typed the token holds; ends with the process.
        guesses: Who sent wrong tokens.
    """

    token: str = ""
    local: bool = True
    session: str = field(default_factory=secrets.token_urlsafe, repr=False)
    guesses: Guesses = field(default_factory=Guesses, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise SemreidError(
                f"the token has {len(self.token)} characters, so it can be guessed",
                fix=f"take {SHORTEST_TOKEN} or more, such as those of: "
                "python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        if not can_travel(self.token):
            raise SemreidError(
                f"programs could not send this token: {ODD_TOKEN}", fix="take letters, digits, - and _ alone"
            )

    def knows(self, token: str) -> bool:
        """Tell whether this is the token, in a time that says nothing about how much of it is right."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self.token.encode())

    def admits(self, token: str, request: Request) -> bool:
        """Tell whether this is the token, unless too many wrong ones came from the same address.

        Raises:
            RequestError: If it is too early for another guess.
        """
        address = request.client.host if request.client else ""
        if self.guesses.left(address) < 1:
            raise RequestError(429, "too many wrong tokens came from your address", f"wait {PAUSE:.0f} seconds")
        right = self.knows(token)
        if not right:
            self.guesses.spend(address)
        return right

    def refuse(self, request: Request) -> RequestError | None:
        """Find out why a request must not be answered.

        Returns:
            The reason, or None if it may be.
        """
        if (
            self.local
            and not self.token
            and not is_local(_split(f"//{request.headers.get('host', '')}").hostname or "")
        ):
            return RequestError(
                421, "this server answers to localhost only", "ask http://localhost, or start it with a token"
            )
        if request.method not in SAFE and not _same_origin(request):
            return RequestError(
                403, "this request comes from the page of another server", "open this server's own page"
            )
        try:
            known = not self.token or request.scope["path"].startswith(OPEN) or self._admits(request)
        except RequestError as error:
            return error
        return None if known else RequestError(401, "a token is needed", "send the header Authorization: Bearer TOKEN")

    def _admits(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.admits(token.strip(), request)
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode())


def is_local(host: str) -> bool:
    """Tell whether a host name or address can only mean this machine.

    Example:
        >>> is_local("localhost"), is_local("127.0.0.1"), is_local("::1"), is_local("0.0.0.0"), is_local("a.example")
        (True, True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Stands before an application: refuses who may not ask, and gives each response its headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if scope["path"].startswith("/static/"):
                    headers["Cache-Control"] = "private, max-age=600"
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        error = self.access.refuse(request)
        app = self.app if error is None else refusal(request, error)
        await app(scope, receive, sealed)


class Headed:
    """Stands before an application: answers HEAD wherever it answers GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def bodiless(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self.app({**scope, "method": "GET"}, receive, bodiless)
        else:
            await self.app(scope, receive, send)


class Bounded:
    """Stands before an application: bounds the bodies of requests, and how many of them are worked on at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.slots = asyncio.Semaphore(ACTIVE)
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request when its turn comes; its body is not read before."""
        if scope["type"] != "http" or scope["method"] in SAFE:
            return await self.app(scope, receive, send)
        request = Request(scope)
        if error := self._refuse(request):
            return await refusal(request, error)(scope, receive, send)
        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
        try:
            await self.app(scope, _spelt(request, _measured(receive)), send)
        finally:
            self.slots.release()

    def _refuse(self, request: Request) -> RequestError | None:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_UPLOAD:
            return _too_large()
        charset = parse_options_header(request.headers.get("content-type"))[1].get(b"charset", b"utf-8")
        if charset.decode("latin-1").lower() not in CHARSETS:
            return RequestError(415, NOT_UTF8, "send it in UTF-8")
        if self.waiting >= WAITING:
            return RequestError(503, "the server is busy", "ask again in a few seconds")
        return None


def _measured(receive: Receive) -> Receive:
    """Count the bytes of a body and the time it takes to come, whatever was announced."""
    total, coming = 0, True
    deadline = asyncio.get_running_loop().time() + SLOWEST

    async def counting() -> Message:
        nonlocal total, coming
        try:
            async with asyncio.timeout_at(deadline if coming else None):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the upload did not come within {SLOWEST:.0f} s") from error
        total += len(message.get("body", b""))
        coming = message.get("more_body", False)
        if total > MAX_UPLOAD:
            raise HTTPException(413, _too_large().what)
        return message

    return counting


def _spelt(request: Request, receive: Receive) -> Receive:
    """Write letters beyond ASCII in a form as browsers do, percent-encoded: as they are, its parser garbles them."""
    if parse_options_header(request.headers.get("content-type"))[0] != b"application/x-www-form-urlencoded":
        return receive
    letters = codecs.getincrementaldecoder("utf-8")()

    async def spelling() -> Message:
        message = await receive()
        body = message.get("body", b"")
        try:
            letters.decode(body, final=not message.get("more_body", False))
        except UnicodeDecodeError as error:
            raise HTTPException(415, NOT_UTF8) from error
        return {**message, "body": quote_from_bytes(body, safe=ASCII).encode()}

    return spelling


def _too_large() -> RequestError:
    return RequestError(413, f"the upload is larger than {MAX_UPLOAD >> 20} MiB", "crop or shrink the image")


def _same_origin(request: Request) -> bool:
    """Whether a browser says that one of our own pages sent this; programs say nothing and pass."""
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    own = origin is None or _split(origin).netloc == request.headers.get("host", "")
    return own and site in {"same-origin", "none"}


def _split(address: str) -> SplitResult:
    """The parts of an address, such as an origin; none of what is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
