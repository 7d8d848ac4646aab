"""Compute paired differences between two networks on PublicTest.

    python benchmarks/paired.py --data fer2013/ models/seventh-student models/sixth-averaged

Writes results/paired-FIRST.json with the scores of the first run minus those of the second.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mien.lab import calibration, data, inference, runs, scores
from mien.lab.heads import HEADS

ROOT = Path(__file__).parent.parent

Predictions = dict[str, np.ndarray]
"""Name of a head -> (N, C) probabilities; "truth" -> (N,) labels; "raters" -> (N, 10) votes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--input-size", type=int, default=48)
    parser.add_argument("runs", nargs=2, type=Path)
    arguments = parser.parse_args()
    val = data.split(data.load(arguments.data), "val")
    (first, first_calibrated), (second, second_calibrated) = (
        predict(path, val, arguments.input_size) for path in arguments.runs
    )
    result = {
        "runs": [path.name for path in arguments.runs],
        "data": data.describe({"val": val}),
        "input_size": arguments.input_size,
        "differences": scores.paired_differences(first, second),
        "calibrated_differences": scores.paired_differences(first_calibrated, second_calibrated),
        "environment": runs.environment(),
    }
    for section in ("differences", "calibrated_differences"):
        for metric, row in result[section].items():
            print(f"{section:22s} {metric:18s} {row['value']:+.4f} "
                  f"({row['low']:+.4f} to {row['high']:+.4f})")  # fmt: skip
    runs.write_json(ROOT / "results" / f"paired-{arguments.runs[0].name}.json", result)


def predict(path: Path, val: data.Samples, input_size: int) -> tuple[Predictions, Predictions]:
    """Predict the emotions of faces with a trained network.

    Returns:
        Uncalibrated probabilities of both heads, and calibrated ones of the vote head, whose
        calibration is cross-validated. Both contain the true labels and votes.
    """
    truth = {"truth": val.labels, "raters": val.votes}
    network = inference.load_network(runs.open_run(path))
    logits = inference.compute_logits(network, val.faces, input_size=input_size)
    heads = {name: logits[:, columns].softmax(1).numpy() for name, columns in HEADS.items()}
    targets = torch.as_tensor(data.shares(val.votes))
    votes = calibration.cross_validate(logits[:, HEADS["votes"]], targets)
    return truth | heads, truth | {"votes": votes.softmax(1).numpy()}


if __name__ == "__main__":
    main()
