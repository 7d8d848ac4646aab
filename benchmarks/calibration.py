"""Compare calibration methods and label-head weights on PublicTest by cross-validation.

    python benchmarks/calibration.py --data fer2013/ --run models/seventh-student

Writes results/calibration-RUN.json.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from mien.lab import calibration, data, inference, runs, scores

ROOT = Path(__file__).parent.parent
METHODS = {"temperature scaling": math.inf, "vector scaling": calibration.PRIOR_STRENGTH}
"""Method -> argument `strength` of `calibration.fit`."""

LABEL_HEAD_WEIGHTS = (0.0, 0.12, 0.16, 0.2, 0.3)
"""Weights of the label head in the geometric mean of both heads (`calibration.mix_heads`)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    samples = data.split(data.load(arguments.data), "val")
    network = inference.load_network(runs.open_run(arguments.run))
    logits = inference.compute_logits(network, samples.faces, input_size=48)
    targets = torch.as_tensor(data.shares(samples.votes))
    rows = []
    for method, strength in METHODS.items():
        for weight in LABEL_HEAD_WEIGHTS:
            mixed = calibration.mix_heads(logits, weight)
            calibrated = calibration.cross_validate(mixed, targets, strength).softmax(1).numpy()
            summary = scores.summary(calibrated, samples)
            rows.append({"method": method, "label_head_weight": weight, **summary})
            print(rows[-1])
    result = {"run": arguments.run.name, "folds": calibration.FOLDS, "rows": rows}
    result["environment"] = runs.environment()
    runs.write_json(ROOT / "results" / f"calibration-{arguments.run.name}.json", result)


if __name__ == "__main__":
    main()
