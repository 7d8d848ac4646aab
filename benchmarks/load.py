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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.load_client import (
    Target,
    closed_loop,
    for_requests,
    for_seconds,
    open_loop,
    resident_mb,
)
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
"""Limit of images in progress of the server in the memory and overload tests; also its default."""


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


async def throughput(target: Target, seconds: float) -> list[dict]:
    """Return the throughput and latencies for each number of connections in `CONNECTIONS`."""
    await closed_loop(target, 8, for_seconds(1))  # warm-up
    rows = []
    for connections in CONNECTIONS:
        rows.append(await closed_loop(target, connections, for_seconds(seconds)))
        print(rows[-1], flush=True)
    return rows


async def memory_test(target: Target, requests: int) -> dict:
    """Measure the memory of the server in MB before and after many requests."""
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
    with served(2 * max(CONNECTIONS)) as url:  # no request is rejected
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
        "environment": runs.environment(),
    }
    print(json.dumps({"memory": memory, "overload": overloaded}, indent=1))
    runs.write_json(arguments.out, result)


if __name__ == "__main__":
    main()
