"""What can be set about the service, and what it allows."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """How the service runs; every limit is there so that memory, disk and waiting stay bounded.

    model, detector: those used when a request names none. threads: of the classifier. workers:
    pictures worked on at once; 0 is one more than there are cores. token: what callers must show.
    hosts: names it may be called by; none are those of this machine on loopback, any elsewhere.
    origins: web pages of elsewhere that may call it. urls: whether requests may name addresses.
    """

    model: str = "default"
    detector: str = "yunet"
    threads: int = 1
    workers: int = 0
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    urls: bool = False

    max_waiting: int = 64
    """Pictures that wait or are worked on; one more is told to come later."""

    max_bytes: int = 32 * 2**20
    """Of one request's body; `max_held`, of all bodies together."""

    max_held: int = 256 * 2**20
    max_pixels: int = 64_000_000
    max_pictures: int = 16
    """In one request."""

    patience: float = 0.002
    """Seconds that a face waits at most for others to share its batch."""

    slow: float = 30.0
    """Seconds that a client may take to send a picture, to go on sending, or to take an answer."""

    max_live: int = 8
    max_frame_bytes: int = 4 * 2**20
    live_seconds: float = 60.0
    """Without a frame for so long, a live connection is closed."""

    max_jobs: int = 8
    max_running: int = 1
    max_video_bytes: int = 512 * 2**20
    max_video_pixels: int = 40_000_000
    """Of one frame of a video."""

    job_seconds: float = 3600.0
    """A video that takes longer is given up; results are kept for so long, too."""

    def at_once(self) -> int:
        """How many threads work on pictures."""
        return self.workers or _cores() + 1

    def known_hosts(self) -> tuple[str, ...]:
        """The names by which it may be called; none for any."""
        if self.hosts or is_loopback(self.host):
            return tuple(dict.fromkeys((*LOOPBACK, self.host, *self.hosts)))
        return ()


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which no other reaches."""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
