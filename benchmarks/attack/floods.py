"""How fast `/healthz` answers while clients flood the service with what is cheap to send.

    python benchmarks/attack/floods.py             # about two minutes; writes results/floods.json

Attacker, probe and server share the cores of this machine.
"""

from __future__ import annotations

import argparse
import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from service import RESULTS, Probe, Service, served

from mien.lab import runs

CONNECTIONS = 8
"""Attacking connections, as many as there are live connections."""

IDLE_CONNECTIONS = 3000
BULK = 2**18
"""Bytes per write of an attacker."""

HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)
UPLOAD = (
    b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A masked WebSocket frame with a key of zeros."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return bytes([opcode | 0x80 * fin]) + size + bytes(4) + payload


BINARY, CONTINUATION, PING = 2, 0, 9
LIVE_FLOODS = {
    "empty pings": (b"", frame(PING, b"")),
    "pings of 125 bytes": (b"", frame(PING, bytes(125))),
    "messages of 1 byte": (b"", frame(BINARY, b"x")),
    "messages of 4 KiB": (b"", frame(BINARY, bytes(4096))),
    "fragments of 1 byte": (frame(BINARY, b"x", False), frame(CONTINUATION, b"x", False)),
    "fragments of 4 KiB": (
        frame(BINARY, b"x", False),
        1000 * frame(CONTINUATION, bytes(4096), False) + frame(CONTINUATION, b"x")
        + frame(BINARY, b"x", False),
    ),
}  # fmt: skip
HTTP_FLOODS = {
    "pipelined requests": (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "chunks of 1 byte": (UPLOAD, b"1\r\nx\r\n"),
    "endless headers": (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
}


@contextmanager
def flooding(service: Service, greeting: bytes, first: bytes, unit: bytes) -> Iterator[None]:
    """Connections that send `first` and then `unit` without end, and come back if closed."""
    stop, bulk = threading.Event(), unit * max(1, BULK // len(unit))

    def attack() -> None:
        while not stop.is_set():
            with suppress(OSError), service.connect(greeting, timeout=2) as connection:
                if greeting and b" 101 " not in connection.recv(1000):
                    time.sleep(0.1)
                    continue
                connection.sendall(first)
                while not stop.is_set():
                    connection.sendall(bulk)

    threads = [threading.Thread(target=attack) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def idle_connections(service: Service) -> Iterator[None]:
    """Thousands of connections that send nothing, and come back if closed."""
    stop = threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            while not stop.is_set():
                for _ in range(IDLE_CONNECTIONS // CONNECTIONS):
                    with suppress(OSError):
                        stack.enter_context(service.connect())
                    if stop.wait(0.002):
                        return
                stack.close()

    threads = [threading.Thread(target=hold) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def measure(
    attack: Callable[[Service], object], service: Service, name: str, seconds: float
) -> dict:
    with attack(service), Probe(service) as probe:
        time.sleep(seconds)
    row = {"flood": name, "seconds": seconds, **probe.summary()}
    row["memory_mb"] = service.memory_mb("VmRSS")
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Floods of mien serve.")
    parser.add_argument("--seconds", type=float, default=10, help="per flood")
    parser.add_argument("--only", default="", help="floods whose names contain this")
    parser.add_argument("--to", type=Path, default=RESULTS / "floods.json")
    arguments = parser.parse_args()
    attacks: dict[str, Callable] = {"none": lambda _: ExitStack()}
    for name, (first, unit) in LIVE_FLOODS.items():
        attacks[name] = lambda s, a=first, b=unit: flooding(s, HANDSHAKE, a, b)
    for name, (first, unit) in HTTP_FLOODS.items():
        attacks[name] = lambda s, a=first, b=unit: flooding(s, b"", a, b)
    attacks[f"{IDLE_CONNECTIONS} idle connections"] = idle_connections
    rows = []
    for name, attack in attacks.items():
        if arguments.only in name:
            with served() as service:
                rows.append(measure(attack, service, name, arguments.seconds))
    report = {
        "name": "floods",
        "attacking_connections": CONNECTIONS,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "rows": rows,
        "environment": runs.about(),
    }
    if not arguments.only:
        runs.write_json(arguments.to, report)


if __name__ == "__main__":
    main()
