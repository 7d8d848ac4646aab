"""What a network gains over another on the same PublicTest faces. Writes results/.

python benchmarks/paired.py --data fer2013/ models/fifth-averaged models/fourth-student
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mien.lab import calibration, data, evaluate, runs, scores
from mien.lab.heads import HEADS

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("runs", nargs=2, type=Path)
    asked = parser.parse_args()
    val = data.split(data.load(asked.data), "val")
    (one, calibrated), (other, others) = (answers(path, val, asked.side) for path in asked.runs)
    found = {
        "runs": [path.name for path in asked.runs],
        "data": data.describe({"val": val}),
        "window": asked.side,
        "less": scores.paired(one, other),
        "less_calibrated": scores.paired(calibrated, others),
        "measured": runs.about(),
    }
    for section in ("less", "less_calibrated"):
        for name, row in found[section].items():
            print(f"{section:16s} {name:18s} {row['value']:+.4f} "
                  f"({row['low']:+.4f} to {row['high']:+.4f})")  # fmt: skip
    runs.write_json(ROOT / "results" / f"paired-{asked.runs[0].name}.json", found)


def answers(
    path: Path, val: data.Samples, side: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What a run says as it is, and its votes calibrated by the faces of other folds."""
    known = {"truth": val.labels, "raters": val.votes}
    said = evaluate.logits(evaluate.restore(runs.open_run(path)), val.faces, side=side)
    heads = {name: said[:, part].softmax(1).numpy() for name, part in HEADS.items()}
    targets = torch.as_tensor(data.shares(val.votes))
    votes = calibration.crossed(said[:, HEADS["votes"]], targets)
    return known | heads, known | {"votes": votes.softmax(1).numpy()}


if __name__ == "__main__":
    main()
