"""Measure the inference time of each network on the leaderboard, relative to the default model.

    python benchmarks/times.py            # all networks with a result in results/leaderboard/
    python benchmarks/times.py vgg19-bn   # the given networks

The time does not depend on the weights, so networks with random weights are exported. Each is timed
on single faces with one thread, alternating with the default model. Writes
results/leaderboard/times.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.model_spec import ModelSpec
from mien.lab import calibration, export, models, runs
from mien.lab.heads import LOGIT_COUNT
from mien.lab.leaderboard import TIMES_FILE
from mien.labels import EMOTIONS

RESULTS = Path(__file__).parent.parent / "results" / "leaderboard"

INPUT_SIZE = 44
"""Side in pixels of the center crops that the networks on the leaderboard receive."""

WARMUP_REPEATS, REPEATS = 3, 30


def export_and_load(name: str, folder: Path) -> tuple[Classifier, float]:
    """Export a network with random weights, and return its classifier and file size in MB."""
    network = models.build(name, channels=1, classes=LOGIT_COUNT)
    exported = export.ExportedNetwork(
        network.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
        {"labels": calibration.identity(len(EMOTIONS))}, 0.0, INPUT_SIZE,
    ).eval()  # fmt: skip
    proto = export.to_onnx(exported, ModelSpec(EMOTIONS, 48, 1))
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return Classifier(path, threads=1), path.stat().st_size / 1e6


def time_alternately(functions: list[Callable[[], object]]) -> list[float]:
    """Return the median milliseconds of each function when they are called alternately."""
    seconds = np.empty((WARMUP_REPEATS + REPEATS, len(functions)))
    for repeat in range(WARMUP_REPEATS + REPEATS):
        for k, function in enumerate(functions):
            started = time.perf_counter()
            function()
            seconds[repeat, k] = time.perf_counter() - started
    return (1000 * np.median(seconds[WARMUP_REPEATS:], axis=0)).tolist()


def measure(name: str) -> dict[str, float]:
    """Return milliseconds per face, their ratio to the default model, and megabytes in float32."""
    crop = np.random.default_rng(0).integers(0, 256, (1, 1, 48, 48), np.uint8)
    default = Classifier(weights.model("default"), threads=1)
    with tempfile.TemporaryDirectory() as folder:
        classifier, megabytes = export_and_load(name, Path(folder))
        ms, default_ms = time_alternately([lambda: classifier(crop), lambda: default(crop)])
    return {
        "ms": round(ms, 2),
        "times_default": round(ms / default_ms, 2),
        "megabytes": round(megabytes, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="networks (default: all with a result)")
    results = map(runs.read_json, sorted(RESULTS.glob("*-seed*.json")))
    evaluated = {result["provenance"]["config"]["model"] for result in results}
    requested = parser.parse_args().models or evaluated
    names = sorted({models.full_name(name) for name in requested})
    path = RESULTS / TIMES_FILE
    rows = runs.read_json(path)["rows"] if path.exists() else {}
    for name in names:
        rows[name] = measure(name)
        print(name, rows[name], flush=True)
        runs.write_json(
            path, {"environment": runs.environment(), "rows": dict(sorted(rows.items()))}
        )


if __name__ == "__main__":
    main()
