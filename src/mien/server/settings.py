"""Settings and limits of the server."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")

VIDEO_PIXELS = {"1080p": 1920 * 1200, "1440p": 2560 * 1600, "2160p": 4096 * 2304}
"""Maximum number of pixels of a frame, by the name of the video size.

Each is somewhat more than in a 16:9 video of this name, so that 16:10 videos, and 4K videos with a
width of 4,096 pixels, are also accepted. A 2160p (4K) video requires up to 1.6 GB of memory, a
1080p video 0.4 GB."""


@dataclass(frozen=True)
class Settings:
    """Settings of the server, and limits of memory, disk space and time.

    Args:
        model: Name of the default model, or path of an .onnx file.
        detector: Name of the default detector.
        threads: Number of threads of a classifier; 0 uses all cores.
        workers: Number of images analyzed in parallel; 0 uses the number of cores plus one.
        host: Address to listen on.
        port: Port to listen on; 0 selects a free port.
        token: Token that clients must send; empty if none is required.
        allowed_hosts: Host names in lower case that requests may use; see
            `effective_allowed_hosts`.
        allowed_origins: Origins of other web pages that may use the server, such as
            `"https://example.org"`; `"*"` allows any.
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

    max_images_in_progress: int = 64
    """Maximum number of images that are queued or being analyzed; further requests get 503."""

    max_body_bytes: int = 32 * 2**20
    """Maximum size of the body of one request, except for videos."""

    max_total_body_bytes: int = 128 * 2**20
    """Maximum memory for the bodies of all requests together, including their copies."""

    max_image_pixels: int = 64_000_000
    """Maximum number of pixels of a decoded image.

    By default, images of all formats reach the limit `memory.MAX_IMAGE_BYTES` with fewer pixels."""

    max_images_per_request: int = 16
    """Maximum number of files of a form, or of images in a JSON body."""

    batch_timeout_seconds: float = 0.002
    """Maximum time that a batch waits for the faces of concurrent requests."""

    client_timeout_seconds: float = 30.0
    """Maximum pause of an upload, and maximum time for a client to accept a part of a response."""

    min_upload_bytes_per_second: int = 240
    """Minimum rate of an upload, averaged over about `client_timeout_seconds`.

    The duration of an upload is not limited."""

    max_live_connections: int = 8
    max_live_frame_bytes: int = 4 * 2**20
    """Maximum size of one encoded frame of a live connection."""

    live_idle_timeout_seconds: float = 60.0
    """Time without a frame after which a live connection is closed."""

    max_jobs: int = 8
    """Maximum number of stored videos in any state."""

    max_running_jobs: int = 1
    """Maximum number of videos that are analyzed at the same time."""

    max_video_bytes: int = 512 * 2**20
    """Maximum size of one uploaded video; for a form, of the whole body."""

    max_video_pixels: int = VIDEO_PIXELS["1080p"]
    """Maximum number of pixels of one frame of a video."""

    job_lifetime_seconds: float = 3600.0
    """Maximum time to analyze a video, and time for which its result files are then stored."""

    def worker_count(self) -> int:
        """Return the number of threads that analyze images."""
        return self.workers or _available_cores() + 1

    def effective_allowed_hosts(self) -> tuple[str, ...]:
        """Return the allowed host names; empty if any host name is allowed.

        If `allowed_hosts` is empty and `host` is not a loopback address, any name is allowed.
        Otherwise, `allowed_hosts`, `host` and the loopback names and addresses are allowed.
        """
        if self.allowed_hosts or is_loopback(self.host):
            return tuple(dict.fromkeys((*LOOPBACK_HOSTS, self.host, *self.allowed_hosts)))
        return ()


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address, to which only this machine can connect."""
    try:
        return host in LOOPBACK_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
