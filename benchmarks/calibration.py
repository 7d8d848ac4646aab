"""What each way to calibrate gains, by ten-fold cross-validation on PublicTest. Writes results/.

python benchmarks/calibration.py --data fer2013/ --run models/fourth-student
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from mien.lab import calibration, data, evaluate, runs, scores

ROOT = Path(__file__).parent.parent
WAYS = {"one temperature": math.inf, "a factor and a shift for each class": calibration.STRENGTH}
LABEL_SHARES = (0.0, 0.1, 0.16, 0.2, 0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    asked = parser.parse_args()
    samples = data.split(data.load(asked.data), "val")
    network = evaluate.restore(runs.open_run(asked.run))
    answers = evaluate.logits(network, samples.faces, side=48)
    targets = torch.as_tensor(data.shares(samples.votes))
    rows = []
    for way, strength in WAYS.items():
        for share in LABEL_SHARES:
            said = calibration.mixed(answers, share)
            shares = calibration.crossed(said, targets, strength).softmax(1).numpy()
            rows.append({"way": way, "label_share": share, **scores.summary(shares, samples)})
            print(rows[-1])
    found = {"run": asked.run.name, "folds": calibration.FOLDS, "rows": rows}
    found["measured"] = runs.about()
    runs.write_json(ROOT / "results" / f"calibration-{asked.run.name}.json", found)


if __name__ == "__main__":
    main()
