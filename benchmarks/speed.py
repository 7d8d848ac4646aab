"""Measure the speed of each stage and of the packaged models.

    python benchmarks/speed.py            # writes results/speed.json

scikit-image provides the photograph. `benchmarks/compare.py` measures whole processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data

from mien.classification import model_spec, weights
from mien.classification.classifier import Classifier
from mien.detection import yunet
from mien.lab import runs

DEFAULT_MULTIPLY_ADDS = 99.6e6
"""Multiply-adds of the default model per face, as counted by `mien.lab.models.multiply_adds`."""

RELATIVE_COST = {"best": 27.0, "small": 0.198}
"""Multiply-adds of models relative to the default model, if they differ.

`best` runs two networks twice each, on the face and its mirror image."""

MATMUL_SCRIPT = """
import time
import numpy as np
matrix = np.ones((1024, 1024), np.float32)
times = []
for _ in range(12):
    started = time.perf_counter()
    matrix @ matrix
    times.append(time.perf_counter() - started)
print(1024**3 / sorted(times)[5])
"""
"""Script that prints the multiply-adds per second of a float32 matrix product (median of 12)."""

MEASURE_SCRIPT = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Script that runs a command and prints its seconds and peak memory in KiB.

The peak memory of a child process includes that of its parent at the start, so the parent is a
minimal Python process."""

HERE = Path(__file__).parent


def median_seconds(work: Callable[[], object], repeats: int = 15) -> float:
    """Return the median seconds of a function after two warm-up calls."""
    work()
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def time_commands(by_name: dict[str, list[str]], repeats: int = 7) -> dict[str, dict[str, float]]:
    """Measure the median seconds and peak memory of commands that run alternately.

    The first run of each command is not counted.

    Args:
        by_name: Name -> command.
        repeats: Number of counted runs of each command.

    Returns:
        Name -> `seconds`, and `peak_mb` in MB (10^6 bytes).
    """
    measured: dict[str, list[list[float]]] = {name: [] for name in by_name}
    for _ in range(repeats + 1):
        for name, command in by_name.items():
            runner = [sys.executable, "-I", "-S", "-c", MEASURE_SCRIPT, *command]
            output = subprocess.run(runner, capture_output=True, text=True, check=True).stdout
            measured[name].append([float(number) for number in output.split()])
    medians = {name: np.median(rows[1:], axis=0) for name, rows in measured.items()}
    return {
        name: {"seconds": float(seconds), "peak_mb": float(kib) * 1024 / 1e6}
        for name, (seconds, kib) in medians.items()
    }


def matmul_speed(threads: int) -> float:
    """Measure multiply-adds per second of a float32 matrix product in a new process."""
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    process = subprocess.run(
        [sys.executable, "-c", MATMUL_SCRIPT],
        env=os.environ | limits, capture_output=True, check=True,
    )  # fmt: skip
    return float(process.stdout)


def classifier_rows() -> list[dict]:
    """Measure the packaged models with 1 and 2 threads and batches of 1 and 32 faces.

    Returns:
        Faces per second, and `share_of_matmul`: the multiply-adds per second, relative to those of
        a matrix product.
    """
    rows = []
    for threads in (1, 2):
        peak = matmul_speed(threads)
        for name, file in weights.models().items():
            if file.head:  # another head of a network that is already measured
                continue
            classify = Classifier(file, threads)
            for batch in (1, 32):
                crops = np.random.default_rng(0).integers(0, 256, (batch, 1, 48, 48), np.uint8)
                rate = batch / median_seconds(lambda c=classify, x=crops: c(x))
                multiply_adds = DEFAULT_MULTIPLY_ADDS * RELATIVE_COST.get(name, 1)
                row = {"model": name, "threads": threads, "batch": batch, "faces_per_second": rate,
                       "share_of_matmul": rate * multiply_adds / peak}  # fmt: skip
                rows.append(row)
                print(row, flush=True)
    return rows


def stages(photo: np.ndarray) -> dict[str, float]:
    """Measure milliseconds of detection, cropping and classification on the photograph."""
    detect, classify = yunet.load(), Classifier(weights.model("default"))
    face, *_ = detect(photo)
    square = detect.geometry.square(face.box)
    crop = model_spec.crop(photo, square, 48, 1)
    return {
        "detect": 1000 * median_seconds(lambda: detect(photo)),
        "cut": 1000 * median_seconds(lambda: model_spec.crop(photo, square, 48, 1)),
        "classify": 1000 * median_seconds(lambda: classify(crop[None])),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    result = {
        "name": "speed",
        "classifier": classifier_rows(),
        "stages_ms": stages(skimage.data.astronaut()),
        "environment": runs.environment(),
    }
    print(result["stages_ms"])
    runs.write_json(HERE.parent / "results" / "speed.json", result)


if __name__ == "__main__":
    main()
