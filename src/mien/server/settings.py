"""Settings and limits of the service."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

LOOPBACK = ("localhost", "127.0.0.1", "::1")


VIDEO_PIXELS = {"1080p": 1920 * 1200, "1440p": 2560 * 1600, "2160p": 4096 * 2304}
"""Pixels per frame by name of the size. A 4K video takes up to 1.6 GB, one of 1080p 0.4 GB."""


@dataclass(frozen=True)
class Settings:
    """How the service runs. The limits bound memory, disk and waiting time.

    Args:
        model: the default model, a name or the path of an .onnx file.
        detector: the default detector.
        threads: of the classifier; 0 for all cores.
        workers: images analyzed in parallel; 0 is one more than there are cores.
        host: the address to listen on.
        port: the port to listen on; 0 for any free one.
        token: that clients must send; empty for none.
        allowed_hosts: host names that are accepted. Empty: those of this machine on loopback, any
            otherwise.
        allowed_origins: origins of other web pages that may use the service.
    """

    model: str = "default"
    detector: str = "yunet"
    threads: int = 1
    workers: int = 0
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()

    max_pending_images: int = 64
    """Images that wait or are being analyzed; further requests get 503."""

    max_body_bytes: int = 32 * 2**20
    """Of one request."""

    max_total_body_bytes: int = 128 * 2**20
    """Of all requests together, copies included."""

    max_pixels: int = 64_000_000
    """Of one image."""

    max_images_per_request: int = 16

    batch_timeout_seconds: float = 0.002
    """Longest time that a face waits for others to share its batch."""

    client_timeout_seconds: float = 30.0
    """Longest pause of a client between two parts of a body, or before it accepts a part of a
    response."""

    min_upload_bytes_per_second: int = 240
    """Lowest rate of a body, averaged over about `client_timeout_seconds`; an upload at this rate
    may take any time."""

    max_live_connections: int = 8
    max_live_frame_bytes: int = 4 * 2**20
    live_idle_timeout_seconds: float = 60.0
    """A live connection that sends no frame for this time is closed."""

    max_jobs: int = 8
    max_running_jobs: int = 1
    max_video_bytes: int = 512 * 2**20
    max_video_pixels: int = VIDEO_PIXELS["1080p"]
    """Of one frame of a video."""

    job_lifetime_seconds: float = 3600.0
    """Longest time to analyze a video, and how long its results are kept."""

    def worker_count(self) -> int:
        """The number of threads that analyze images."""
        return self.workers or _available_cores() + 1

    def effective_allowed_hosts(self) -> tuple[str, ...]:
        """The host names that are accepted; empty for any."""
        if self.allowed_hosts or is_loopback(self.host):
            return tuple(dict.fromkeys((*LOOPBACK, self.host, *self.allowed_hosts)))
        return ()


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
