"""Compare size, time and memory of two installations of mien and of the script `bare.py`.

    python benchmarks/compare.py --before OLD/bin/python --after NEW/bin/python
    python benchmarks/compare.py --before ... --after ... --serve     # then the server's throughput

Writes results/compare.json; with --serve, the throughput is added to that file. Each interpreter
must belong to an environment with only mien; for --serve, with its extra `serve`. Old versions need
the path of YuNet in $MIEN_YUNET.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.speed import HERE, time_commands
from mien.detection import yunet
from mien.lab import runs

RESULT = HERE.parent / "results" / "compare.json"

EXCLUDED = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
"""Prefixes of the entries of site-packages that are not counted."""

TIME_DETECTION_SCRIPT = """
import sys, time, numpy as np
from PIL import Image
try:
    from mien.detection import yunet
    detect = yunet.YuNet(threads=1)
except ImportError:
    import cv2
    cv2.setNumThreads(1)
    from mien.detectors import yunet
    detect = yunet.load()
photo = Image.fromarray(np.load(sys.argv[1]))
for size in ((640, 640), (320, 320)):
    pixels, times = np.asarray(photo.resize(size)), []
    for _ in range(25):
        start = time.perf_counter()
        detect(pixels)
        times.append(time.perf_counter() - start)
    print(1000 * sorted(times)[12])
"""
"""Script that prints the median milliseconds of a detection at 640 x 640 and at 320 x 320 pixels.

It runs with old versions of mien, too, in which OpenCV ran YuNet."""

PRINT_SITE_PACKAGES_SCRIPT = "import sysconfig; print(sysconfig.get_path('purelib'))"

WARMUP_SECONDS = 2.0
"""Seconds after the start of the clients that are not counted in the throughput."""


def installed_mib(python: str) -> float:
    """Return the size of an environment's site-packages in MiB, without pip and setuptools."""
    process = subprocess.run(
        [python, "-c", PRINT_SITE_PACKAGES_SCRIPT], capture_output=True, text=True, check=True
    )
    total = 0
    for entry in Path(process.stdout.strip()).iterdir():
        if not entry.name.startswith(EXCLUDED):
            files = entry.rglob("*") if entry.is_dir() else [entry]
            # st_blocks counts blocks of 512 bytes.
            total += sum(f.lstat().st_blocks * 512 for f in files if not f.is_dir())
    return total / 2**20


def detection_ms(python: str, photo: Path) -> list[float]:
    """Return the median milliseconds of a detection at 640 x 640 and 320 x 320 with one thread.

    Args:
        python: The interpreter of the installation.
        photo: A `.npy` file with (H, W, 3) uint8 RGB pixels.
    """
    process = subprocess.run(
        [python, "-c", TIME_DETECTION_SCRIPT, str(photo)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in process.stdout.split()]


def throughput(python: str, body: bytes, seconds: float = 12.0, clients: int = 4) -> float:
    """Return the images per second that `mien serve` analyzes for concurrent clients."""
    child = subprocess.Popen(
        [python, "-m", "mien", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    address = urlsplit(child.stderr.readline().split()[-1])  # the first line ends with the URL
    counts = [0] * clients
    start = time.monotonic() + WARMUP_SECONDS

    def send_requests(k: int) -> None:
        connection = http.client.HTTPConnection(address.hostname, address.port)
        while (sent_at := time.monotonic()) < start + seconds:
            connection.request("POST", "/analyze", body, {"Content-Type": "image/jpeg"})
            connection.getresponse().read()
            if sent_at > start:
                counts[k] += 1

    threads = [threading.Thread(target=send_requests, args=[k]) for k in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child.terminate()
    child.wait()
    child.stderr.close()
    return sum(counts) / seconds


def compare_throughput(before: str, after: str) -> dict[str, float]:
    """Measure the median throughput of the servers of two installations, run alternately."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(file, "JPEG", quality=90)
    rates: dict[str, list[float]] = {"before": [], "after": []}
    for _ in range(3):
        rates["before"].append(throughput(before, file.getvalue()))
        rates["after"].append(throughput(after, file.getvalue()))
    return {version: float(np.median(values)) for version, values in rates.items()}


def compare_installations(before: str, after: str) -> dict:
    """Measure size, time and memory of two installations without optional dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        photo = skimage.data.astronaut()
        path, array = Path(folder) / "photo.png", Path(folder) / "photo.npy"
        Image.fromarray(photo).save(path)
        np.save(array, photo)
        model = HERE.parent / "src" / "mien" / "classification" / "default.onnx"
        processes = {}
        for name, python in (("before", before), ("after", after)):
            analyze = [python, "-m", "mien", "analyze", "--json"]
            processes |= {
                f"{name}: python alone": [python, "-c", ""],
                f"{name}: import mien": [python, "-c", "import mien"],
                f"{name}: 1 image": [*analyze, str(path)],
                f"{name}: 50 images": [*analyze, *[str(path)] * 50],
            }
        bare = [after, str(HERE / "bare.py"), str(path), str(yunet.FILE), str(model)]
        processes |= {"bare: 1 image": [*bare, "1"], "bare: 50 images": [*bare, "50"]}
        return {
            "installed_mib": {"before": installed_mib(before), "after": installed_mib(after)},
            "processes": time_commands(processes),
            "detection_ms": {
                "before": detection_ms(before, array), "after": detection_ms(after, array),
            },
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, help="Python of the old installation")
    parser.add_argument("--after", required=True, help="Python of the new installation")
    parser.add_argument("--serve", action="store_true", help="only measure the server")
    options = parser.parse_args()
    if options.serve:
        result = runs.read_json(RESULT)
        result["images_per_second"] = compare_throughput(options.before, options.after)
        result["serve_environment"] = runs.environment()
    else:
        result = {
            "name": "cost before and after",
            **compare_installations(options.before, options.after),
            "environment": runs.environment(),
        }
    runs.write_json(RESULT, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
