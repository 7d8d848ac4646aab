"""How much `mien serve` bears: throughput and latency, memory, and ten times too much.

    python benchmarks/load.py                      # all; 50,000 requests for the memory
    python benchmarks/load.py --seconds 3 --requests 500

Needs scikit-image for the photograph. Server and client share the machine's
cores, and so does the bare loop that they are compared with: decode, YuNet, ONNX Runtime, nothing
else, in as many threads as there are cores.
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
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
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
TIMES = 10
WAITING = 64
"""What may wait when too much comes; the server's own default."""

MAX_OPEN = 900
"""Connections that the client holds when it sends too much."""


@dataclass
class Seen:
    """What came back: seconds of each answer by its status, and how many were wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0

    def add(self, status: str, seconds: float) -> None:
        """Take in an answer."""
        self.seconds.setdefault(status, []).append(seconds)

    def row(self, spent: float) -> dict:
        """Counts, rate and latencies of what took so many seconds in all."""
        done = np.array(self.seconds.get("200", [0.0]))
        return {
            "statuses": {status: len(times) for status, times in sorted(self.seconds.items())},
            "wrong": self.wrong,
            "a_second": len(self.seconds.get("200", [])) / spent,
            "p50_ms": 1000 * float(np.quantile(done, 0.5)),
            "p99_ms": 1000 * float(np.quantile(done, 0.99)),
        }


def photograph() -> bytes:
    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=90)
    return file.getvalue()


def bare(body: bytes, seconds: float, threads: int) -> float:
    """Pictures a second of the loop without any service."""
    detect = yunet.YuNet(threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights.model("default")), options)
    end, counts = time.monotonic() + seconds, Counter()

    def work(k: int) -> None:
        while time.monotonic() < end:
            pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
            x, y, w, h = (int(v) for v in detect(pixels)[0].box)
            face = Image.fromarray(pixels[y : y + h, x : x + w]).convert("L").resize((48, 48))
            session.run(None, {"faces": np.asarray(face)[None, None]})
            counts[k] += 1

    workers = [threading.Thread(target=work, args=[k]) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts.values()) / seconds


@contextlib.contextmanager
def served(waiting: int) -> Iterator[str]:
    """The address of `mien serve` in a process of its own."""
    words = ["serve", "--port", "0", "--detector", "yunet", "--waiting", str(waiting)]
    child = subprocess.Popen(
        [sys.executable, "-m", "mien", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        yield child.stderr.readline().split()[-1]
    finally:
        child.terminate()
        child.wait()
        child.stderr.close()


class Asker:
    """One connection that asks again and again."""

    def __init__(self, url: str, body: bytes) -> None:
        where = urlsplit(url)
        self._where = where.hostname, where.port
        self._asked = (
            f"POST /analyze HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: image/jpeg\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __call__(self, seen: Seen, want: dict) -> None:
        """Ask once; a right answer says what `want` says."""
        began = time.perf_counter()
        try:
            status, answer = await self._ask()
        except (OSError, asyncio.IncompleteReadError) as error:
            status, answer = type(error).__name__, b""
            self.close()
        seen.add(status, time.perf_counter() - began)
        if status == "200" and not same(json.loads(answer), want):
            seen.wrong += 1

    async def _ask(self) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where)
        reader, writer = self._streams
        writer.write(self._asked)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return head.split()[1].decode(), answer

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def same(found: dict, want: dict) -> bool:
    """Whether two records say the same, whatever batch the face was in."""
    if len(found["faces"]) != len(want["faces"]):
        return False
    pairs = zip(found["faces"], want["faces"], strict=True)
    return all(
        abs(one["emotions"][name] - share) < 1e-4
        for one, other in pairs
        for name, share in other["emotions"].items()
    )


async def closed(url: str, body: bytes, want: dict, connections: int, go_on: Callable) -> dict:
    """So many connections, each asking again as soon as it is answered."""
    seen, askers = Seen(), [Asker(url, body) for _ in range(connections)]

    async def ask(asker: Asker) -> None:
        while go_on(seen):
            await asker(seen, want)

    began = time.perf_counter()
    await asyncio.gather(*map(ask, askers))
    spent = time.perf_counter() - began
    for asker in askers:
        asker.close()
    return {"connections": connections, "seconds": spent, **seen.row(spent)}


async def flooded(url: str, body: bytes, want: dict, rate: float, seconds: float) -> dict:
    """So many requests a second, whether or not earlier ones are answered."""
    seen, free, peak = Seen(), [Asker(url, body) for _ in range(MAX_OPEN)], 0.0
    going: set[asyncio.Task] = set()
    began, sent, held_back = time.perf_counter(), 0, 0

    async def ask(asker: Asker) -> None:
        await asker(seen, want)
        free.append(asker)

    while (now := time.perf_counter() - began) < seconds:
        for _ in range(int(now * rate) - sent):
            sent += 1
            if not free:
                held_back += 1
                continue
            task = asyncio.create_task(ask(free.pop()))
            going.add(task)
            task.add_done_callback(going.discard)
        peak = max(peak, await memory(url)) if sent % 5 == 0 else peak
        await asyncio.sleep(0.01)
    await asyncio.gather(*going)
    spent = time.perf_counter() - began
    for asker in free:
        asker.close()
    return {"asked_a_second": rate, "asked": sent, "held_back_by_client": held_back,
            "peak_mb": peak, **seen.row(spent)}  # fmt: skip


async def get(url: str, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def memory(url: str) -> float:
    """Megabytes that the server has resident."""
    for line in (await get(url, "/metrics")).decode().splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    return 0.0


def for_seconds(seconds: float) -> Callable[[Seen], bool]:
    end = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < end


def for_requests(count: int) -> Callable[[Seen], bool]:
    return lambda seen: sum(map(len, seen.seconds.values())) < count


async def throughput(url: str, body: bytes, want: dict, seconds: float) -> list[dict]:
    await closed(url, body, want, 8, for_seconds(1))
    rows = []
    for connections in CONNECTIONS:
        rows.append(await closed(url, body, want, connections, for_seconds(seconds)))
        print(rows[-1], flush=True)
    return rows


async def endurance(url: str, body: bytes, want: dict, requests: int) -> dict:
    await closed(url, body, want, 16, for_requests(min(500, requests)))
    before = await memory(url)
    row = await closed(url, body, want, 16, for_requests(requests))
    return {"requests": requests, "before_mb": before, "after_mb": await memory(url), **row}


async def overload(url: str, body: bytes, want: dict, rate: float, seconds: float) -> dict:
    before = await memory(url)
    flood = await flooded(url, body, want, TIMES * rate, seconds)
    began = time.perf_counter()
    first = await closed(url, body, want, 1, for_requests(1))
    recovered = time.perf_counter() - began
    after = await closed(url, body, want, 8, for_seconds(min(seconds, 5)))
    return {"waiting": WAITING, "before_mb": before, "flood": flood, "first_after": first,
            "first_after_s": recovered, "after": after, "after_mb": await memory(url)}  # fmt: skip


def on_a_server(waiting: int, work: Callable[[str], Awaitable]) -> object:
    with served(waiting) as url:
        return asyncio.run(work(url))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--to", type=Path, default=ROOT / "results" / "load.json")
    wanted = parser.parse_args()
    body, seconds = photograph(), wanted.seconds
    (found,) = Analyzer(detector="yunet", threads=1).analyze_frames([image.first_frame(body)])
    want = found.to_dict()
    cores = len(os.sched_getaffinity(0))
    limit = bare(body, seconds, cores)
    print(f"bare: {limit:.1f} a second in {cores} threads", flush=True)
    rows = on_a_server(2 * max(CONNECTIONS), lambda url: throughput(url, body, want, seconds))
    limit = (limit + bare(body, seconds, cores)) / 2
    rate = max(row["a_second"] for row in rows)
    result = {
        "what": "load",
        "picture": "astronaut, 512 x 512, JPEG",
        "cores": cores,
        "bare_a_second": limit,
        "rows": [{**row, "share_of_bare": row["a_second"] / limit} for row in rows],
        "memory": on_a_server(WAITING, lambda url: endurance(url, body, want, wanted.requests)),
        "overload": on_a_server(WAITING, lambda url: overload(url, body, want, rate, seconds)),
        "measured": runs.about(),
    }
    print(json.dumps({key: result[key] for key in ("memory", "overload")}, indent=1))
    runs.write_json(wanted.to, result)


if __name__ == "__main__":
    main()
