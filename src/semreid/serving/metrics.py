"""Counters and latencies, in the text format that Prometheus reads."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, in seconds."""


class Metrics:
    """Counts requests; wrapped around an application, it sees each of them.

    All of it happens in the event loop, so nothing is locked.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self.searches = 0

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: HTTP method.
            route: Path as the application declares it, so that labels stay few.
            status: HTTP status.
            seconds: How long it took.
        """
        self.requests[method, route, status] += 1
        self.seconds[route] += seconds
        self.buckets[route][bisect_left(BOUNDS, seconds)] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """Write everything down.

        Args:
            gauges: Further values by name, without ``semreid_``.

        Example:
            >>> print(Metrics().text({"gallery_rows": 5}).splitlines()[-1])
            semreid_gallery_rows 5
        """
        return "\n".join([*self._counters(), *self._histogram(), *_gauges(gauges)]) + "\n"

    def _counters(self) -> Iterator[str]:
        yield "# TYPE semreid_requests_total counter"
        for (method, route, status), count in sorted(self.requests.items()):
            yield f'semreid_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
        yield "# TYPE semreid_searches_total counter"
        yield f"semreid_searches_total {self.searches}"

    def _histogram(self) -> Iterator[str]:
        yield "# TYPE semreid_request_seconds histogram"
        for route, counts in sorted(self.buckets.items()):
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], accumulate(counts), strict=True):
                yield f'semreid_request_seconds_bucket{{route="{route}",le="{bound}"}} {count}'
            yield f'semreid_request_seconds_sum{{route="{route}"}} {self.seconds[route]:.6f}'
            yield f'semreid_request_seconds_count{{route="{route}"}} {sum(counts)}'


class Measured:
    """Tells the metrics of each request that an application answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self.metrics.observe(_method(scope), _route(scope), status, time.perf_counter() - start)


def _method(scope: Scope) -> str:
    """The method, if it is one; a client can send any word."""
    method = str(scope["method"])
    return method if method in {"GET", "HEAD", "POST", "DELETE"} else "other"


def _route(scope: Scope) -> str:
    """The route that answered, never the path: a client can think up any number of those."""
    if scope["path"].startswith("/static/"):
        return "/static"
    return str(getattr(scope.get("route"), "path", "unknown"))


def _gauges(values: Mapping[str, float]) -> Iterator[str]:
    for name, value in values.items():
        yield f"# TYPE semreid_{name} gauge"
        yield f"semreid_{name} {value}"
