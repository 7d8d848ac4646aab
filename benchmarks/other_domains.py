"""What mixing the label head in gains on PublicTest faces changed as other sources have them.

    python benchmarks/other_domains.py --data fer2013/ --run models/fourth-student

Each face is cut wider or narrower than FER2013 does, and its tone curve, contrast, brightness and
sharpness are changed (`mien.lab.augmentation.other_domains`, seed 0). The shares of votes are
calibrated on the unchanged faces, by cross-validation. Writes results/other-domains-RUN.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.lab import augmentation, batches, calibration, data, evaluate, metrics, runs
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

ROOT = Path(__file__).parent.parent
SHARES = (0.0, 0.08, 0.16, 0.3)
SIDE, SEED = 48, 0


def changed(faces: np.ndarray) -> np.ndarray:
    """(N, 48, 48) uint8 -> the same, each changed at random."""
    uniform = torch.as_tensor(np.random.default_rng(SEED).random((6, len(faces)), np.float32))
    standard = batches.standardise(torch.as_tensor(faces)[:, None])
    other = augmentation.other_domains(standard, uniform, 1.0)
    grey = (other * batches.SPREAD + batches.MEAN).round().clamp(0, 255)
    return grey[:, 0].to(torch.uint8).numpy()


def recalls(answers: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Of FER2013's labels: the recall of angry, and the mean over emotions."""
    seven = restrict_labels(answers.softmax(1).numpy(), EMOTIONS_AND_CONTEMPT, EMOTIONS)
    scores = metrics.per_class(metrics.confusion(labels, seven.argmax(1), len(EMOTIONS)))
    return {"angry": float(scores["recall"][0]), "macro": float(scores["recall"].mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    asked = parser.parse_args()
    val = data.split(data.load(asked.data), "val")
    network = evaluate.restore(runs.open_run(asked.run))
    plain, other = (
        evaluate.logits(network, faces, side=SIDE) for faces in (val.faces, changed(val.faces))
    )
    targets = torch.as_tensor(data.shares(val.votes))
    rows = []
    for share in SHARES:
        mixed = calibration.mixed(plain, share)
        scaling = calibration.fit(mixed, targets)
        crossed = calibration.crossed(mixed, targets)
        rows.append({
            "label_share": share,
            **kl(crossed, val.votes),
            "as_they_are": recalls(crossed, val.labels),
            "changed": recalls(scaling(calibration.mixed(other, share)), val.labels),
        })  # fmt: skip
        print(rows[-1])
    labels = (np.pad(one[:, :7].softmax(1).numpy(), ((0, 0), (0, 1))) for one in (plain, other))
    heads = [recalls(torch.as_tensor(one).clamp(min=1e-9).log(), val.labels) for one in labels]
    found = {
        "run": asked.run.name,
        "split": "PublicTest",
        "seed": SEED,
        "rows": rows,
        "label_head": dict(zip(("as_they_are", "changed"), heads, strict=True)),
        "measured": runs.about(),
    }
    print(found["label_head"])
    runs.write_json(ROOT / "results" / f"other-domains-{asked.run.name}.json", found)


def kl(logits: Tensor, votes: np.ndarray) -> dict[str, float]:
    """KL divergence from the votes, in nats, of the faces with enough of them."""
    asked, shares = data.seven_shares(votes)
    seven = restrict_labels(logits.softmax(1).numpy()[asked], EMOTIONS_AND_CONTEMPT, EMOTIONS)
    return {"kl_nats": float(metrics.kl_divergence(shares, seven).mean())}


if __name__ == "__main__":
    main()
