"""Client of the load test: it sends the same request repeatedly, and checks the responses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

MAX_CONNECTIONS = 900
"""Number of connections of `open_loop`; fewer than the limit of the server (`protocols.py`)."""

MEMORY_INTERVAL_SECONDS = 0.1
"""Interval between two measurements of the memory in `open_loop`. They take time of the server."""

SHARE_TOLERANCE = 1e-4
"""Accepted difference of shares, whose rounding depends on the batch."""


@dataclass(frozen=True)
class Target:
    """A server, the image that is sent to it, and the expected record."""

    url: str
    body: bytes
    expected: dict


@dataclass
class Responses:
    """The responses of a measurement, including failed requests.

    Attributes:
        durations: Latencies in seconds, by HTTP status or, for a failed request, by exception name.
        wrong: Number of responses with status 200 and other shares than expected.
    """

    durations: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0

    def add(self, status: str, seconds: float) -> None:
        """Add a response or a failed request."""
        self.durations.setdefault(status, []).append(seconds)

    def count(self) -> int:
        """The number of responses and failed requests."""
        return sum(map(len, self.durations.values()))

    def summary(self, elapsed_seconds: float) -> dict:
        """Counts by status, and rate and latencies of responses with status 200.

        Without such a response, the rate and the latencies are 0.
        """
        successful = self.durations.get("200", [])
        seconds = np.array(successful or [0.0])
        return {
            "statuses": {status: len(times) for status, times in sorted(self.durations.items())},
            "wrong_responses": self.wrong,
            "responses_per_second": len(successful) / elapsed_seconds,
            "p50_ms": 1000 * float(np.quantile(seconds, 0.5)),
            "p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        }


class LoadClient:
    """Client that sends the same request repeatedly over one connection."""

    def __init__(self, target: Target) -> None:
        address = urlsplit(target.url)
        self._expected = target.expected
        self._address = address.hostname, address.port
        self._request = (
            f"POST /analyze HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(target.body)}\r\n\r\n"
        ).encode() + target.body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, responses: Responses) -> None:
        """Send the request once, and add the response to `responses`."""
        start = time.perf_counter()
        try:
            status, body = await self._send()
        except (OSError, asyncio.IncompleteReadError) as error:
            status, body = type(error).__name__, b""
            self.close()
        responses.add(status, time.perf_counter() - start)
        if status == "200" and not has_same_shares(json.loads(body), self._expected):
            responses.wrong += 1

    async def _send(self) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(self._request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return head.split()[1].decode(), body

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def has_same_shares(record: dict, expected: dict) -> bool:
    """Return whether two records have the same shares up to `SHARE_TOLERANCE`."""
    if len(record["faces"]) != len(expected["faces"]):
        return False
    return all(
        abs(face["emotions"][name] - share) < SHARE_TOLERANCE
        for face, expected_face in zip(record["faces"], expected["faces"], strict=True)
        for name, share in expected_face["emotions"].items()
    )


async def closed_loop(
    target: Target, connections: int, should_continue: Callable[[Responses], bool]
) -> dict:
    """Measure a closed loop: each connection sends a request when the previous one is answered.

    Args:
        target: The server and the request.
        connections: Number of connections.
        should_continue: Function that is called before each request; `for_seconds` or
            `for_requests`.

    Returns:
        The connections, the duration in `seconds`, and `Responses.summary`.
    """
    responses = Responses()
    clients = [LoadClient(target) for _ in range(connections)]

    async def send_repeatedly(client: LoadClient) -> None:
        while should_continue(responses):
            await client(responses)

    start = time.perf_counter()
    await asyncio.gather(*map(send_repeatedly, clients))
    elapsed = time.perf_counter() - start
    for client in clients:
        client.close()
    return {"connections": connections, "seconds": elapsed, **responses.summary(elapsed)}


async def open_loop(target: Target, rate: float, seconds: float) -> dict:
    """Measure a fixed rate of requests per second, independent of responses.

    Args:
        target: The server and the request.
        rate: Requests per second. Those that are due while all connections are busy are not sent.
        seconds: Duration.

    Returns:
        `target_requests_per_second`, which is `rate`; `requests_due`, which includes the requests
        that are not sent; `skipped_by_client`, their number; `peak_mb`, the largest measured memory
        of the server; and `Responses.summary`.
    """
    responses, peak_mb, measured_at = Responses(), 0.0, 0.0
    idle = [LoadClient(target) for _ in range(MAX_CONNECTIONS)]
    tasks: set[asyncio.Task] = set()
    start, due, skipped = time.perf_counter(), 0, 0

    async def send_once(client: LoadClient) -> None:
        await client(responses)
        idle.append(client)

    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(int(elapsed * rate) - due):
            due += 1
            if not idle:
                skipped += 1
                continue
            task = asyncio.create_task(send_once(idle.pop()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if elapsed - measured_at >= MEMORY_INTERVAL_SECONDS:
            measured_at = elapsed
            peak_mb = max(peak_mb, await resident_mb(target.url))
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    elapsed = time.perf_counter() - start
    for client in idle:
        client.close()
    return {"target_requests_per_second": rate, "requests_due": due, "skipped_by_client": skipped,
            "peak_mb": peak_mb, **responses.summary(elapsed)}  # fmt: skip


async def get(url: str, path: str) -> bytes:
    """Send a GET request; return the head and the body of the response."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def resident_mb(url: str) -> float:
    """Return the resident memory of the server in MB (10^6 bytes).

    It is 0.0 if the server does not state it, such as in a response with status 503.
    """
    for line in (await get(url, "/metrics")).decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    return 0.0


def for_seconds(seconds: float) -> Callable[[Responses], bool]:
    """Return a condition for `closed_loop` that holds for a time from now."""
    deadline = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < deadline


def for_requests(count: int) -> Callable[[Responses], bool]:
    """Return a condition for `closed_loop` that holds until this number of requests is complete."""
    return lambda responses: responses.count() < count
