"""A `mien serve` process for attacks: its memory, and the latency of `/healthz`."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

RESULTS = Path(__file__).parents[2] / "results"
PROBE_INTERVAL_SECONDS = 0.05
PROBE_TIMEOUT_SECONDS = 60


@dataclass
class Service:
    """A running server."""

    process: subprocess.Popen
    url: str

    def connect(self, data: bytes = b"", timeout: float = 30) -> socket.socket:
        """Open a TCP connection and send data."""
        address = urlsplit(self.url)
        connection = socket.create_connection((address.hostname, address.port), timeout)
        connection.sendall(data)
        return connection

    def post(self, body: bytes, media_type: str, path: str = "/analyze") -> tuple[str, float]:
        """Send a request; return its status or connection error, and its duration in seconds."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=300)
        start = time.perf_counter()
        try:
            connection.request("POST", path, body, {"Content-Type": media_type})
            response = connection.getresponse()
            response.read()
            status = str(response.status)
        except OSError as error:
            status = type(error).__name__
        finally:
            connection.close()
        return status, time.perf_counter() - start

    def memory_mb(self, key: str) -> float:
        """Return `VmRSS` (current) or `VmHWM` (peak) of the process in MB (10^6 bytes).

        It is 0.0 if the process has ended.
        """
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024 / 1e6  # the kernel's "kB" has 1024 bytes
        return 0.0


@contextmanager
def served(*arguments: str, cores: int = 0) -> Iterator[Service]:
    """Start a `mien serve` process.

    Args:
        arguments: More arguments of `mien serve`.
        cores: Number of CPU cores that the process sees; 0 for the actual number.
    """
    code = "from mien.cli import main; main()"
    if cores:
        code = f"import os; os.sched_getaffinity = lambda _: set(range({cores})); {code}"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "MIEN_TOKEN": ""},
    )  # fmt: skip
    try:
        url = process.stderr.readline().split()[-1]  # the first line ends with the URL
        yield Service(process, url)
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


@dataclass
class Probe:
    """Requests `/healthz` at regular intervals, and records statuses and durations in seconds."""

    service: Service
    statuses: Counter = field(default_factory=Counter)
    durations: list[float] = field(default_factory=list)

    def __enter__(self) -> Probe:
        """Start the requests."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the request in progress."""
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict:
        """Return the number of requests by status or connection error, and latencies in ms."""
        p50, p99 = np.quantile(self.durations, [0.5, 0.99]) * 1000
        return {
            "healthz_statuses": dict(self.statuses),
            "healthz_p50_ms": float(p50),
            "healthz_p99_ms": float(p99),
            "healthz_slowest_ms": 1000 * max(self.durations),
        }

    def _run(self) -> None:
        while not self._stop.wait(PROBE_INTERVAL_SECONDS):
            start = time.perf_counter()
            self.statuses[self._request()] += 1
            self.durations.append(time.perf_counter() - start)

    def _request(self) -> str:
        """Request `/healthz`; return the HTTP status or the connection error."""
        netloc = urlsplit(self.service.url).netloc
        connection = http.client.HTTPConnection(netloc, timeout=PROBE_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/healthz")
            return str(connection.getresponse().status)
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()
