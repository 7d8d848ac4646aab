"""Counters and histograms, in Prometheus's text; and the middleware that counts every request."""

from __future__ import annotations

import asyncio
import bisect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.server.refusals import Gone

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FACES = (1, 2, 4, 8, 16, 32)

GONE = 499
"""Stands for a client that left, as in nginx; it is never sent."""


@dataclass
class Histogram:
    """How often a value was at most each of `edges`, and the sum of all."""

    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.counts = self.counts or [0] * (len(self.edges) + 1)
        self.counts[bisect.bisect_left(self.edges, value)] += 1
        self.total += value


class Metrics:
    """What the service tells of itself: numbers, never what anybody sent. Safe in many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[str, float]] = {}
        self._histograms: dict[str, dict[str, Histogram]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def count(self, name: str, labels: str = "", by: float = 1) -> None:
        """Add to a counter. labels: as Prometheus writes them, `'reason="busy"'`."""
        with self._lock:
            known = self._counters.setdefault(name, {})
            known[labels] = known.get(labels, 0) + by

    def observe(
        self, name: str, value: float, labels: str = "", edges: tuple[float, ...] = SECONDS
    ) -> None:
        """Add to a histogram."""
        with self._lock:
            known = self._histograms.setdefault(name, {})
            known.setdefault(labels, Histogram(edges)).add(value)

    def gauge(self, name: str, value: Callable[[], float]) -> None:
        """Tell a value as it is when somebody asks."""
        self._gauges[name] = value

    def text(self) -> str:
        """All of it, in Prometheus's text format."""
        lines = []
        with self._lock:
            for name, counters in sorted(self._counters.items()):
                lines.append(f"# TYPE {name} counter")
                lines += [f"{name}{_in(labels)} {n:.15g}" for labels, n in sorted(counters.items())]
            for name, histograms in sorted(self._histograms.items()):
                lines.append(f"# TYPE {name} histogram")
                for labels, histogram in sorted(histograms.items()):
                    lines += _lines(name, labels, histogram)
        for name, value in sorted(self._gauges.items()):
            lines += [f"# TYPE {name} gauge", f"{name} {value():.15g}"]
        return "\n".join(lines) + "\n"


def _in(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _lines(name: str, labels: str, histogram: Histogram) -> list[str]:
    lines, total, before = [], 0, f"{labels}," if labels else ""
    for edge, count in zip([*histogram.edges, "+Inf"], histogram.counts, strict=True):
        total += count
        lines.append(f'{name}_bucket{{{before}le="{edge}"}} {total}')
    sums = [f"{name}_sum{_in(labels)} {histogram.total:.15g}", f"{name}_count{_in(labels)} {total}"]
    return lines + sums


def resident_bytes() -> float:
    """Memory of this process, where the system tells it; else 0."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = [line.split()[1] for line in file if line.startswith("VmRSS")]
    except OSError:
        return 0.0
    return 1024.0 * int(found[0]) if found else 0.0


class Counted:
    """ASGI middleware, the outermost: counts and times requests, and waits for no slow reader."""

    def __init__(self, app: ASGIApp, metrics: Metrics, slow: float) -> None:
        self._app, self._metrics, self._slow = app, metrics, slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and count; an answer of which a part is not taken in time is broken off."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, left = time.perf_counter(), 500, False

        async def patient(message: Message) -> None:
            nonlocal status, left
            if message["type"] == "http.response.start":
                status = message["status"]
            try:
                async with asyncio.timeout(self._slow):
                    await send(message)
            except TimeoutError:
                status, left = GONE, True
                raise Gone from None

        try:
            await self._app(scope, receive, patient)
        except Exception:
            # What arises from breaking off an answer is nobody's bug.
            if not left:
                raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.count("mien_requests_total", f'route="{route}",status="{status}"')
            spent = time.perf_counter() - began
            self._metrics.observe("mien_request_seconds", spent, f'route="{route}"')
