"""How fast the stages and the packaged models are: part of the README's table on cost.

    python benchmarks/speed.py            # prints, and writes results/speed.json

Needs scikit-image for the photograph. Whole processes are timed by `benchmarks/compare.py`.
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

MACS = 99.6e6
"""Multiply-adds of the default model on one face; `tests/lab/models/test_models.py` counts them."""

TIMES = {"best": 46.6}
"""How many times that work a model does for one face, if not once: four networks, two views."""

RUN = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Runs a command and prints its seconds and its peak memory in KiB, which for a child starts at its
parent's: so the parent is a Python that has loaded next to nothing."""

HERE = Path(__file__).parent


def median(work: Callable[[], object], repeats: int = 15) -> float:
    """Seconds that `work` takes, in the median, after two warm-ups."""
    work()
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent))


def commands(named: dict[str, list[str]], repeats: int = 7) -> dict[str, dict[str, float]]:
    """Wall seconds and peak memory of whole processes, taken in turn; medians."""
    found: dict[str, list[list[float]]] = {name: [] for name in named}
    for _ in range(repeats + 1):
        for name, command in named.items():
            runner = [sys.executable, "-I", "-S", "-c", RUN, *command]
            said = subprocess.run(runner, capture_output=True, text=True, check=True).stdout
            found[name].append([float(number) for number in said.split()])
    medians = {name: np.median(each[1:], axis=0) for name, each in found.items()}
    return {
        name: {"seconds": float(seconds), "peak_mb": float(kib) * 1024 / 1e6}
        for name, (seconds, kib) in medians.items()
    }


def matmul_macs(threads: int) -> float:
    """Multiply-adds a second of this machine's float32 matrix product, in a fresh process."""
    code = (
        "import numpy as n,time;a=n.ones((1024,1024),n.float32);s=[]\n"
        "for _ in range(12):\n t=time.perf_counter();a@a;s.append(time.perf_counter()-t)\n"
        "print(1024**3/sorted(s)[5])"
    )
    limit = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")}
    out = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | limit, capture_output=True, check=True
    )
    return float(out.stdout)


def classifier_rows() -> list[dict]:
    """Faces a second, and the share of the matrix product's multiply-adds that they need."""
    rows = []
    for threads in (1, 2):
        peak = matmul_macs(threads)
        for name, file in weights.models().items():
            if file.head:  # the same network
                continue
            classify = Classifier(file, threads)
            for count in (1, 32):
                crops = np.random.default_rng(0).integers(0, 256, (count, 1, 48, 48), np.uint8)
                rate = count / median(lambda c=classify, x=crops: c(x))
                row = {"model": name, "threads": threads, "batch": count, "faces_per_second": rate,
                       "share_of_matmul": rate * MACS * TIMES.get(name, 1) / peak}  # fmt: skip
                rows.append(row)
                print(row, flush=True)
    return rows


def stages(photo: np.ndarray) -> dict[str, float]:
    """Milliseconds of detection, cutting and classification on the photograph."""
    detect, classify = yunet.load(), Classifier(weights.model("default"))
    face, *_ = detect(photo)
    square = detect.geometry.square(face.box)
    cut = model_spec.crop(photo, square, 48, 1)
    return {
        "detect": 1000 * median(lambda: detect(photo)),
        "cut": 1000 * median(lambda: model_spec.crop(photo, square, 48, 1)),
        "classify": 1000 * median(lambda: classify(cut[None])),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    result = {
        "name": "speed",
        "classifier": classifier_rows(),
        "stages_ms": stages(skimage.data.astronaut()),
        "environment": runs.about(),
    }
    print(result["stages_ms"])
    runs.write_json(HERE.parent / "results" / "speed.json", result)


if __name__ == "__main__":
    main()
