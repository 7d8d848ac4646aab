"""Measure the effect of the label-head weight on faces that resemble those of other sources.

    python benchmarks/other_domains.py --data fer2013/ --run models/seventh-student

PublicTest faces are cropped wider or narrower, and their tone curve, contrast, brightness and
sharpness are changed (`mien.lab.augmentation.domain_randomization`, seed 0). The calibration is
fitted on the original faces; the scores of these faces are cross-validated. Writes
results/other-domains-RUN.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.lab import augmentation, batches, calibration, data, inference, metrics, runs
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

ROOT = Path(__file__).parent.parent
LABEL_HEAD_WEIGHTS = (0.0, 0.12, 0.16, 0.3)
INPUT_SIZE, SEED = 48, 0


def randomize(faces: np.ndarray) -> np.ndarray:
    """Transform (N, 48, 48) uint8 faces at random."""
    uniform = torch.as_tensor(np.random.default_rng(SEED).random((6, len(faces)), np.float32))
    standard = batches.standardize(torch.as_tensor(faces)[:, None])
    randomized = augmentation.domain_randomization(standard, uniform, 1.0)
    gray = (randomized * batches.STD + batches.MEAN).round().clamp(0, 255)
    return gray[:, 0].to(torch.uint8).numpy()


def recalls(logits: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Return the recall of angry and the mean recall over all emotions, for FER2013's labels."""
    seven = restrict_labels(logits.softmax(1).numpy(), EMOTIONS_AND_CONTEMPT, EMOTIONS)
    scores = metrics.per_class(metrics.confusion(labels, seven.argmax(1), len(EMOTIONS)))
    return {"angry": float(scores["recall"][0]), "macro": float(scores["recall"].mean())}


def kl_divergence(logits: Tensor, votes: np.ndarray) -> float:
    """Return the mean KL divergence from the vote shares in nats."""
    has_votes, shares = data.seven_shares(votes)
    seven = restrict_labels(logits.softmax(1).numpy()[has_votes], EMOTIONS_AND_CONTEMPT, EMOTIONS)
    return float(metrics.kl_divergence(shares, seven).mean())


def label_head_recalls(logits: Tensor, labels: np.ndarray) -> dict[str, float]:
    """Return `recalls` of the label head alone."""
    probabilities = np.pad(logits[:, :7].softmax(1).numpy(), ((0, 0), (0, 1)))
    return recalls(torch.as_tensor(probabilities).clamp(min=1e-9).log(), labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    val = data.split(data.load(arguments.data), "val")
    network = inference.load_network(runs.open_run(arguments.run))
    original, randomized = (
        inference.compute_logits(network, faces, input_size=INPUT_SIZE)
        for faces in (val.faces, randomize(val.faces))
    )
    targets = torch.as_tensor(data.shares(val.votes))
    rows = []
    for share in LABEL_HEAD_WEIGHTS:
        mixed = calibration.mix_heads(original, share)
        scaling = calibration.fit(mixed, targets)
        calibrated = calibration.cross_validate(mixed, targets)
        rows.append({
            "label_head_weight": share,
            "kl_nats": kl_divergence(calibrated, val.votes),
            "original": recalls(calibrated, val.labels),
            "randomized": recalls(
                scaling(calibration.mix_heads(randomized, share)), val.labels
            ),
        })  # fmt: skip
        print(rows[-1])
    result = {
        "run": arguments.run.name,
        "split": "PublicTest",
        "seed": SEED,
        "rows": rows,
        "label_head": {
            "original": label_head_recalls(original, val.labels),
            "randomized": label_head_recalls(randomized, val.labels),
        },
        "environment": runs.environment(),
    }
    print(result["label_head"])
    runs.write_json(ROOT / "results" / f"other-domains-{arguments.run.name}.json", result)


if __name__ == "__main__":
    main()
