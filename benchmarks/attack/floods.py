"""Latency of `/healthz` while clients flood the server with data that are cheap to send.

    python benchmarks/attack/floods.py --seconds 3   # about a minute; writes results/floods.json

The attacking clients, the probe and the server share the cores of one machine.
"""

from __future__ import annotations

import argparse
import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.attack.service import RESULTS, Probe, Service, served
from mien.lab import runs

CONNECTIONS = 8
"""Number of attacking clients, each with one connection except in `idle_connections`; equal to the
server's limit of live connections."""

IDLE_CONNECTIONS = 3000
"""Number of connections that the last attack opens, without sending anything, before it closes them
and starts again."""

WRITE_BYTES = 2**18
"""Approximate number of bytes that an attacking client sends at once; one unit if it is longer."""

BINARY, CONTINUATION, PING = 2, 0, 9
"""Opcodes of WebSocket frames."""

HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n\r\n"
)
"""Request for a WebSocket connection."""

UPLOAD = (
    b"POST /analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
"""Head of a request whose body is sent in chunks."""


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """Encode a WebSocket frame of at most 65,535 bytes, masked with a key of zeros.

    Args:
        opcode: Kind of frame.
        payload: Contents.
        fin: Whether the frame is the last one of its message.
    """
    length = len(payload)
    mask_bit, mask_key = 0x80, bytes(4)
    if length < 126:
        size = bytes([mask_bit | length])
    else:  # the length follows in two bytes
        size = bytes([mask_bit | 126]) + length.to_bytes(2, "big")
    first_byte = opcode | 0x80 if fin else opcode
    return bytes([first_byte]) + size + mask_key + payload


# The fragments of 1 byte belong to a message that never ends. Those of 4 KiB belong to messages of
# 1,000 fragments, which the server accepts; each unit also begins the next message.
LIVE_FLOODS: dict[str, tuple[bytes, bytes]] = {
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
"""Name of a flood of WebSocket frames -> bytes sent once, and bytes sent repeatedly."""

HTTP_FLOODS: dict[str, tuple[bytes, bytes]] = {
    "pipelined requests": (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "chunks of 1 byte": (UPLOAD, b"1\r\nx\r\n"),
    "endless headers": (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
}
"""Name of a flood of HTTP data -> bytes sent once, and bytes sent repeatedly."""

Attack = Callable[[Service], AbstractContextManager[object]]
"""Function from a server to a context in which it is attacked."""


@contextmanager
def attacking(attack: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function in `CONNECTIONS` threads; its argument is set when it must return."""
    stop = threading.Event()
    threads = [threading.Thread(target=attack, args=[stop]) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def flooding(
    service: Service, *, handshake: bytes, prefix: bytes, unit: bytes
) -> AbstractContextManager[None]:
    """Send data repeatedly over several connections, which are opened again when closed.

    Args:
        service: The server.
        handshake: Request for a WebSocket connection; empty for plain HTTP.
        prefix: Bytes that each connection sends once.
        unit: Bytes that each connection then sends repeatedly.
    """
    bulk = unit * max(1, WRITE_BYTES // len(unit))

    def attack(stop: threading.Event) -> None:
        while not stop.is_set():
            with suppress(OSError), service.connect(handshake, timeout=2) as connection:
                if handshake and b" 101 " not in connection.recv(1000):  # rejected
                    time.sleep(0.1)
                    continue
                connection.sendall(prefix)
                while not stop.is_set():
                    connection.sendall(bulk)

    return attacking(attack)


@contextmanager
def idle_connections(service: Service) -> Iterator[None]:
    """Open thousands of connections that send nothing, close them, and start again."""

    def open_and_close(stop: threading.Event) -> None:
        with ExitStack() as stack:
            while not stop.is_set():
                for _ in range(IDLE_CONNECTIONS // CONNECTIONS):
                    with suppress(OSError):
                        stack.enter_context(service.connect())
                    if stop.wait(0.002):
                        return
                stack.close()

    with attacking(open_and_close):
        time.sleep(2)  # until all connections have been opened once
        yield


def measure(attack: Attack, service: Service, name: str, seconds: float) -> dict:
    """Attack a server for some seconds; return the latencies, and its memory after the attack."""
    with attack(service), Probe(service) as probe:
        time.sleep(seconds)
    row = {"flood": name, "seconds": seconds, **probe.summary()}
    row["memory_mb"] = service.memory_mb("VmRSS")
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Flood mien serve with data.")
    parser.add_argument("--seconds", type=float, default=10, help="duration of each flood")
    parser.add_argument(
        "--only", default="", help="run the floods whose names contain this; writes no file"
    )
    parser.add_argument("--to", type=Path, default=RESULTS / "floods.json")
    arguments = parser.parse_args()
    attacks: dict[str, Attack] = {"none": lambda _: ExitStack()}
    for handshake, floods in ((HANDSHAKE, LIVE_FLOODS), (b"", HTTP_FLOODS)):
        for name, (prefix, unit) in floods.items():
            attacks[name] = partial(flooding, handshake=handshake, prefix=prefix, unit=unit)
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
        "environment": runs.environment(),
    }
    if not arguments.only:
        runs.write_json(arguments.to, report)


if __name__ == "__main__":
    main()
