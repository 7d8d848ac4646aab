"""Measure the resident memory while thousands of images are analyzed.

    python benchmarks/memory.py            # 10,000 images; writes results/memory.json

Images of 20 sizes are analyzed repeatedly. scikit-image provides the photograph.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import skimage.data
from PIL import Image

import mien
from mien.io import image
from mien.lab import runs

ROOT = Path(__file__).parent.parent

MEASUREMENTS = 20
"""Number of measurements of the memory."""


def resident_megabytes() -> float:
    """Return the current resident memory of this process in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000, help="number of images")
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        photo = Image.fromarray(skimage.data.astronaut())
        files = [str(Path(folder) / f"{side}.jpg") for side in range(160, 560, 20)]
        for path in files:
            side = int(Path(path).stem)
            photo.resize((side, side)).save(path)

        def frames() -> Iterator[mien.Frame]:
            for k in range(count):
                yield from image.frames(files[k % len(files)])

        resident_mb, faces, started = [], 0, time.perf_counter()
        for number, result in enumerate(
            mien.Analyzer(detector="yunet").analyze_frames(frames()), 1
        ):
            faces += len(result)
            if number % max(1, count // MEASUREMENTS) == 0:
                resident_mb.append(round(resident_megabytes(), 1))
        rate = count / (time.perf_counter() - started)
    print(f"{count:,} images, {faces:,} faces, {rate:.0f} per second, MB: {resident_mb}")
    about = {"name": "memory", "images": count, "faces": faces, "images_per_second": rate}
    result = about | {"resident_mb": resident_mb, "environment": runs.environment()}
    runs.write_json(ROOT / "results" / "memory.json", result)


if __name__ == "__main__":
    main()
