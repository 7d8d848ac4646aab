"""Peak memory of `mien serve` while clients send the requests that need the most memory.

    python benchmarks/attack/memory.py    # four minutes; writes results/server-memory.json

Each kind of request is sent to a new server. Then all kinds are sent at once, to a server that sees
the actual number of cores and to one that sees 16. Most files are small but decode to large images.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.attack.floods import BINARY, CONTINUATION, HANDSHAKE, frame
from benchmarks.attack.service import RESULTS, Probe, Service, served
from mien.lab import runs
from mien.server.backend import CLEANUP_INTERVAL_SECONDS
from mien.server.settings import Settings

CLIENTS = 4
"""Number of clients per kind of request; one for videos."""

REST_SECONDS = CLEANUP_INTERVAL_SECONDS + 2
"""Seconds of rest after the run with all kinds of requests at once; more than the
interval at which the server returns unused memory to the system."""

FRAGMENT_BYTES = 65535
"""Maximum size of a fragment of a WebSocket message."""

Attack = Callable[[Service, Counter], None]
"""Function that sends a request to a server and counts its status."""


def image_file(image_format: str, mode: str, megapixels: float, **options: object) -> bytes:
    """Encode a square black image of a Pillow mode with options of Pillow.

    The side is rounded down to a multiple of 32 pixels.
    """
    side = int((megapixels * 1e6) ** 0.5) // 32 * 32
    file = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(np.zeros((side, side), np.uint16)).save(file, image_format)
    else:
        Image.new(mode, (side, side)).save(file, image_format, **options)
    return file.getvalue()


def video_file(width: int, height: int, frames: int) -> bytes:
    """Encode an H.264 video of a moving pattern with the maximum number of reference frames.

    Width and height are at most 1,920 and 1,088 pixels.
    """
    import av

    file, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (68, 120, 3), np.uint8)
    pixels = noise.repeat(16, 0).repeat(16, 1)[:height, :width]
    options = {"preset": "ultrafast", "x264-params": "ref=16:keyint=250"}
    with av.open(file, "w", "mp4") as output:
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height = width, height
        for k in range(frames):
            shifted = np.ascontiguousarray(np.roll(pixels, 8 * k, 1))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(shifted)))
        output.mux(stream.encode())
    return file.getvalue()


def json_body(image: bytes) -> bytes:
    """Encode a JSON request of at most 30 MiB, with as many copies of an image as it may contain.

    Each copy is padded by 2 MiB, because the request would otherwise be small.
    """
    encoded = base64.b64encode(image + bytes(2 * 2**20)).decode()
    copies = max(1, min(Settings.max_images_per_request, 30 * 2**20 // len(encoded)))
    return json.dumps({"images": [encoded] * copies}).encode()


def post_images(body: bytes, media_type: str = "image/png") -> Attack:
    """Return an attack that posts a body to `/analyze`."""
    return lambda service, statuses: statuses.update([service.post(body, media_type)[0]])


def upload_video(body: bytes) -> Attack:
    """Return an attack that uploads a video and waits until it is analyzed."""

    def attack(service: Service, statuses: Counter) -> None:
        request = urllib.request.Request(
            service.url + "/videos", body, {"Content-Type": "video/mp4"}
        )
        try:
            job = json.load(urllib.request.urlopen(request))
            while job["state"] not in ("done", "failed"):
                time.sleep(0.3)
                job = json.load(urllib.request.urlopen(f"{service.url}/videos/{job['id']}"))
            statuses[job["state"]] += 1
        except OSError as error:
            statuses[str(getattr(error, "code", type(error).__name__))] += 1

    return attack


def send_live_frames(body: bytes) -> Attack:
    """Return an attack that sends five live frames in fragments and reads their records."""
    parts = [body[k : k + FRAGMENT_BYTES] for k in range(0, len(body), FRAGMENT_BYTES)]
    data = b"".join(
        frame(CONTINUATION if k else BINARY, part, fin=k == len(parts) - 1)
        for k, part in enumerate(parts)
    )

    def attack(service: Service, statuses: Counter) -> None:
        try:
            with service.connect(HANDSHAKE, timeout=60) as connection:
                connection.recv(1000)
                for _ in range(5):
                    connection.sendall(data)
                    statuses["record" if b'"faces"' in connection.recv(100_000) else "error"] += 1
        except OSError as error:
            statuses[type(error).__name__] += 1

    return attack


def attacks() -> dict[str, Attack]:
    """Return the attacks by kind of request."""
    photograph = image_file("JPEG", "RGB", 1)
    return {
        "PNG, 8,000 x 8,000, transparent": post_images(image_file("PNG", "RGBA", 64)),
        "PNG, 24 megapixels, transparent": post_images(image_file("PNG", "RGBA", 24)),
        "PNG, 13 megapixels, 16 bits": post_images(image_file("PNG", "I;16", 13)),
        "WebP, 13 megapixels": post_images(image_file("WEBP", "RGBA", 13)),
        "AVIF, 16 megapixels": post_images(image_file("AVIF", "RGBA", 16, speed=10)),
        "JPEG 2000, 9 megapixels": post_images(image_file("JPEG2000", "RGBA", 9)),
        "JPEG, 24 megapixels": post_images(image_file("JPEG", "RGB", 24)),
        "JPEG, 96 megapixels": post_images(image_file("JPEG", "RGB", 96)),
        "JPEG without an end, 13 megapixels": post_images(image_file("JPEG", "RGB", 13)[:-2]),
        "JPEG, progressive, 18 megapixels": post_images(
            image_file("JPEG", "RGB", 18, progressive=True, subsampling=0)
        ),
        "JPEG, 1 megapixel": post_images(photograph),
        "PNG, 6 megapixels": post_images(image_file("PNG", "RGBA", 6)),
        "JSON of 30 MiB": post_images(json_body(photograph), "application/json"),
        "body of 32 MiB": post_images(bytes(2**25)),
        "live, PNG of 16 megapixels": send_live_frames(image_file("PNG", "RGBA", 16)),
        "video of 1,920 x 1,080": upload_video(video_file(1920, 1080, 50)),
    }


def measure(kinds: dict[str, Attack], seconds: float, cores: int = 0) -> dict[str, object]:
    """Run attacks of one or several kinds at once on a new server.

    Args:
        kinds: The attacks by kind of request.
        seconds: Duration of the attacks.
        cores: Number of cores that the server sees; 0 for the actual number.

    Returns:
        Memory of the server before the attacks, at its peak and after a rest, in MB; latencies of
        `/healthz` in ms; and the number of outcomes by kind: statuses of responses, states of
        video jobs, messages of live streams, or names of connection errors.
    """
    with served(cores=cores) as service:
        before, end = service.memory_mb("VmRSS"), time.monotonic() + seconds
        statuses = {name: Counter() for name in kinds}

        def attack(name: str) -> None:
            while time.monotonic() < end:
                with suppress(OSError):
                    kinds[name](service, statuses[name])

        with Probe(service) as probe:
            threads = [
                threading.Thread(target=attack, args=[name])
                for name in kinds
                for _ in range(1 if "video" in name else CLIENTS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        time.sleep(REST_SECONDS if len(kinds) > 1 else 1)
        row = {
            "requests": "all of these at once" if len(kinds) > 1 else next(iter(kinds)),
            "cores": cores or len(os.sched_getaffinity(0)),
            "statuses": {name: dict(counts) for name, counts in statuses.items()},
            "before_mb": before,
            "peak_mb": service.memory_mb("VmHWM"),
            "after_rest_mb": service.memory_mb("VmRSS"),
            **probe.summary(),
        }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the peak memory of mien serve.")
    parser.add_argument(
        "--seconds", type=float, default=5, help="duration for each kind; eight times for all"
    )
    parser.add_argument(
        "--only",
        default="",
        help="run the kinds whose names contain this, or 'all' kinds at once; writes no file",
    )
    parser.add_argument("--to", type=Path, default=RESULTS / "server-memory.json")
    arguments = parser.parse_args()
    kinds = attacks()
    rows = [
        measure({name: attack}, arguments.seconds)
        for name, attack in kinds.items()
        if arguments.only in name
    ]
    if arguments.only in ("", "all"):
        rows += [measure(kinds, 8 * arguments.seconds, cores) for cores in (0, 16)]
    report = {
        "name": "server-memory",
        "clients_per_kind": CLIENTS,
        "rows": rows,
        "environment": runs.environment(),
    }
    if not arguments.only:
        runs.write_json(arguments.to, report)


if __name__ == "__main__":
    main()
