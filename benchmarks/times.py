"""How long each system looks at a face, beside the packaged default: for the leaderboard.

    python benchmarks/times.py            # every model with a result in results/leaderboard/
    python benchmarks/times.py vgg19-bn   # or these

A network's time does not depend on its weights, so new ones are exported and asked, one face at a
time and on one thread, in turn with the default model. Writes results/leaderboard/times.json.
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
from mien.lab.heads import CLASSES
from mien.lab.leaderboard import TIMES
from mien.labels import EMOTIONS

RESULTS = Path(__file__).parent.parent / "results" / "leaderboard"
SIDE = 44
ROUNDS = 30


def classifier(name: str, folder: Path) -> tuple[Classifier, float]:
    """A new network of that name as users would load it, and the megabytes of its file."""
    network = models.build(name, channels=1, classes=CLASSES)
    whole = export.ExportedNetwork(
        network.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
        {"labels": calibration.identity(len(EMOTIONS))}, 0.0, SIDE,
    ).eval()  # fmt: skip
    proto = export.to_onnx(whole, ModelSpec(EMOTIONS, 48, 1))
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return Classifier(path, threads=1), path.stat().st_size / 1e6


def in_turn(ones: list[Callable[[], object]]) -> list[float]:
    """Milliseconds of each, in the median, when they take turns."""
    spent = np.empty((ROUNDS, len(ones)))
    for k in range(-3, ROUNDS):
        for number, work in enumerate(ones):
            began = time.perf_counter()
            work()
            spent[k, number] = time.perf_counter() - began
    return (1000 * np.median(spent, axis=0)).tolist()


def measure(name: str) -> dict[str, float]:
    """Milliseconds a face, how many times the default's they are, and megabytes as float32."""
    crop = np.random.default_rng(0).integers(0, 256, (1, 1, 48, 48), np.uint8)
    default = Classifier(weights.model("default"), threads=1)
    with tempfile.TemporaryDirectory() as folder:
        asked, megabytes = classifier(name, Path(folder))
        mine, its = in_turn([lambda: asked(crop), lambda: default(crop)])
    return {
        "ms": round(mine, 2),
        "times_default": round(mine / its, 2),
        "megabytes": round(megabytes, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="those with a result, if none is named")
    results = map(runs.read_json, sorted(RESULTS.glob("*-seed*.json")))
    trained = parser.parse_args().models or {r["provenance"]["config"]["model"] for r in results}
    names = sorted({models.full_name(name) for name in trained})
    path = RESULTS / TIMES
    rows = runs.read_json(path)["rows"] if path.exists() else {}
    for name in names:
        rows[name] = measure(name)
        print(name, rows[name], flush=True)
        runs.write_json(path, {"environment": runs.about(), "rows": dict(sorted(rows.items()))})


if __name__ == "__main__":
    main()
