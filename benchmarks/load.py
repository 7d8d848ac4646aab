"""Load test of `mien serve`: throughput, latency, memory, and behavior under overload.

    python benchmarks/load.py                      # with 50,000 requests for the memory test
    python benchmarks/load.py --seconds 3 --requests 500

Server and client share the cores of one machine. The baseline runs without a server: it decodes the
image, detects faces with YuNet and classifies them, all in one process, with one thread per core.
scikit-image provides the photograph.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import skimage.data
from PIL import Image

from mien.analyzer import Analyzer
from mien.classification import weights
from mien.detection import yunet
from mien.io import image
from mien.lab import runs
from mien.onnx_runtime import onnxruntime

ROOT = Path(__file__).parent.parent

CONNECTIONS = (1, 8, 64, 256)
"""Numbers of connections with which the throughput is measured."""

OVERLOAD_FACTOR = 10
"""Rate of requests under overload, relative to the maximum throughput."""

MAX_IMAGES_IN_PROGRESS = 64
"""Limit of the server in the memory and overload tests, equal to its default."""

MAX_CONNECTIONS = 900
"""Maximum number of connections that the client opens for the overload."""

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
    """The responses of a measurement.

    Attributes:
        durations: Latencies in seconds, by HTTP status or, for a failed request, by exception name.
        wrong: Number of responses with other shares than expected.
    """

    durations: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0

    def add(self, status: str, seconds: float) -> None:
        """Add a response."""
        self.durations.setdefault(status, []).append(seconds)

    def count(self) -> int:
        """The number of responses."""
        return sum(map(len, self.durations.values()))

    def summary(self, elapsed_seconds: float) -> dict:
        """Counts by status, and rate and latencies of successful responses."""
        successful = self.durations.get("200", [])
        seconds = np.array(successful or [0.0])
        return {
            "statuses": {status: len(times) for status, times in sorted(self.durations.items())},
            "wrong_responses": self.wrong,
            "responses_per_second": len(successful) / elapsed_seconds,
            "p50_ms": 1000 * float(np.quantile(seconds, 0.5)),
            "p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        }


def photograph() -> bytes:
    """Return a JPEG file of 512 x 512 pixels with one face."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=90)
    return file.getvalue()


def baseline_per_second(body: bytes, seconds: float, threads: int) -> float:
    """Measure images per second of decoding, detection and classification without a server."""
    detect = yunet.YuNet(threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights.model("default").path), options)
    deadline, counts = time.monotonic() + seconds, [0] * threads

    def analyze_repeatedly(k: int) -> None:
        while time.monotonic() < deadline:
            pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
            x, y, w, h = (int(v) for v in detect(pixels)[0].box)
            face = Image.fromarray(pixels[y : y + h, x : x + w]).convert("L").resize((48, 48))
            session.run(None, {"faces": np.asarray(face)[None, None]})
            counts[k] += 1

    workers = [threading.Thread(target=analyze_repeatedly, args=[k]) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


@contextlib.contextmanager
def served(max_images_in_progress: int) -> Iterator[str]:
    """Start a `mien serve` process and yield its URL."""
    limit = ["--max-images-in-progress", str(max_images_in_progress)]
    arguments = ["serve", "--port", "0", "--detector", "yunet", *limit]
    child = subprocess.Popen(
        [sys.executable, "-m", "mien", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        yield child.stderr.readline().split()[-1]  # the first line ends with the URL
    finally:
        child.terminate()
        child.wait()
        child.stderr.close()


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
    """Measure a closed loop.

    Each connection sends its next request when it has received the previous response.
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

    Requests that are due while all connections are busy are not sent. `requests_due` includes
    them, and `skipped_by_client` counts them.
    """
    responses, peak_mb = Responses(), 0.0
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
        if due % 5 == 0:  # not every time, because this takes time of the server
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
    """Return the resident memory of the server in MB (10^6 bytes)."""
    for line in (await get(url, "/metrics")).decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    return 0.0


def for_seconds(seconds: float) -> Callable[[Responses], bool]:
    """Return a condition for `closed_loop` that holds for a time from now."""
    deadline = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < deadline


def for_requests(count: int) -> Callable[[Responses], bool]:
    """Return a condition for `closed_loop` that holds until this number of responses."""
    return lambda responses: responses.count() < count


async def throughput(target: Target, seconds: float) -> list[dict]:
    """Measure throughput and latency by number of connections."""
    await closed_loop(target, 8, for_seconds(1))  # warm-up
    rows = []
    for connections in CONNECTIONS:
        rows.append(await closed_loop(target, connections, for_seconds(seconds)))
        print(rows[-1], flush=True)
    return rows


async def memory_test(target: Target, requests: int) -> dict:
    """Measure the memory of the server before and after many requests."""
    await closed_loop(target, 16, for_requests(min(500, requests)))  # warm-up
    before = await resident_mb(target.url)
    row = await closed_loop(target, 16, for_requests(requests))
    after = await resident_mb(target.url)
    return {"requests": requests, "before_mb": before, "after_mb": after, **row}


async def overload(target: Target, max_throughput: float, seconds: float) -> dict:
    """Measure the server at `OVERLOAD_FACTOR` times its maximum throughput, and its recovery."""
    before = await resident_mb(target.url)
    under_overload = await open_loop(target, OVERLOAD_FACTOR * max_throughput, seconds)
    start = time.perf_counter()
    first_request = await closed_loop(target, 1, for_requests(1))
    recovery_seconds = time.perf_counter() - start
    after = await closed_loop(target, 8, for_seconds(min(seconds, 5)))
    return {
        "max_images_in_progress": MAX_IMAGES_IN_PROGRESS,
        "before_mb": before,
        "under_overload": under_overload,
        "first_request_after": first_request,
        "recovery_seconds": recovery_seconds,
        "after_overload": after,
        "after_mb": await resident_mb(target.url),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Load test of mien serve.")
    parser.add_argument("--seconds", type=float, default=20, help="duration of each measurement")
    parser.add_argument(
        "--requests", type=int, default=50_000, help="number of requests of the memory test"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "load.json")
    arguments = parser.parse_args()
    body, seconds = photograph(), arguments.seconds
    (analyzed,) = Analyzer(detector="yunet", threads=1).analyze_frames([image.first_frame(body)])
    expected = analyzed.to_dict()
    cores = len(os.sched_getaffinity(0))
    baselines = [baseline_per_second(body, seconds, cores)]
    print(f"baseline: {baselines[0]:.1f} images per second in {cores} threads", flush=True)
    with served(2 * max(CONNECTIONS)) as url:
        rows = asyncio.run(throughput(Target(url, body, expected), seconds))
    # The baseline is also measured afterwards, because the speed of the machine may change.
    baselines.append(baseline_per_second(body, seconds, cores))
    baseline = sum(baselines) / 2
    max_throughput = max(row["responses_per_second"] for row in rows)
    with served(MAX_IMAGES_IN_PROGRESS) as url:
        memory = asyncio.run(memory_test(Target(url, body, expected), arguments.requests))
    with served(MAX_IMAGES_IN_PROGRESS) as url:
        overloaded = asyncio.run(overload(Target(url, body, expected), max_throughput, seconds))
    for row in rows:
        row["fraction_of_baseline"] = row["responses_per_second"] / baseline
    result = {
        "name": "load",
        "image": "astronaut, 512 x 512, JPEG",
        "cores": cores,
        "baseline_per_second": baseline,
        "rows": rows,
        "memory": memory,
        "overload": overloaded,
        "environment": runs.about(),
    }
    print(json.dumps({"memory": memory, "overload": overloaded}, indent=1))
    runs.write_json(arguments.out, result)


if __name__ == "__main__":
    main()
