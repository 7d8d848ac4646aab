"""What each way to calibrate gains, by ten-fold cross-validation on PublicTest. Writes results/.

python benchmarks/calibration.py --data fer2013/ --run models/fourth-pupil
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from mien.lab import calibration, data, evaluate, measures, runs
from mien.lab.heads import HEADS

ROOT = Path(__file__).parent.parent
WAYS = {"one temperature": math.inf, "a factor and a shift for each class": calibration.STRENGTH}
SHARPENED = (1.0, 1.1, 1.105, 1.12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    asked = parser.parse_args()
    samples = data.split(data.load(asked.data), "val")
    network = evaluate.restore(runs.open_run(asked.run))
    said = evaluate.logits(network, samples.faces, side=48)[:, HEADS["votes"]]
    targets = torch.as_tensor(data.shares(samples.votes))
    rows = []
    for way, strength in WAYS.items():
        scaled = calibration.crossed(said, targets, strength)
        for by in SHARPENED:
            shares = (by * scaled).softmax(1).numpy()
            rows.append({"way": way, "sharpened": by, **measures.summary(shares, samples)})
            print(rows[-1])
    found = {"run": asked.run.name, "folds": calibration.FOLDS, "rows": rows}
    found["measured"] = runs.about()
    runs.write_json(ROOT / "results" / f"calibration-{asked.run.name}.json", found)


if __name__ == "__main__":
    main()
