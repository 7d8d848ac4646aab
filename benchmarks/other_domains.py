"""Measure the effect of the label-head weight on faces that resemble those of other sources.

    python benchmarks/other_domains.py --data fer2013/ --run models/seventh-student

PublicTest faces are cropped wider or narrower, and their tone curve, contrast, brightness and
sharpness are changed (`mien.lab.augmentation.domain_randomization`, seed 0). The calibration of the
changed faces is fitted on all original faces, that of the original faces is cross-validated. Writes
results/other-domains-RUN.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.lab import augmentation, batches, calibration, data, inference, metrics, runs
from mien.lab.heads import HEADS
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

ROOT = Path(__file__).parent.parent
LABEL_HEAD_WEIGHTS = (0.0, 0.12, 0.16, 0.3)
"""Weights of the label head in the geometric mean of both heads (`calibration.mix_heads`)."""

INPUT_SIZE, SEED = 48, 0


def randomize(faces: np.ndarray) -> np.ndarray:
    """Change (N, 48, 48) uint8 faces at random; the result has the same shape."""
    uniform = torch.as_tensor(np.random.default_rng(SEED).random((6, len(faces)), np.float32))
    standard = batches.standardize(torch.as_tensor(faces)[:, None])
    randomized = augmentation.domain_randomization(standard, uniform, 1.0)
    gray = (randomized * batches.STD + batches.MEAN).round().clamp(0, 255)
    return gray[:, 0].to(torch.uint8).numpy()


def seven_probabilities(logits: Tensor) -> np.ndarray:
    """Convert (N, 8) logits of the vote head to (N, 7) probabilities without contempt."""
    return restrict_labels(logits.softmax(1).numpy(), EMOTIONS_AND_CONTEMPT, EMOTIONS)


def recalls(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the recall of angry and the mean recall over all emotions.

    Args:
        probabilities: (N, 7).
        labels: (N,) FER2013 labels.
    """
    confusion = metrics.confusion(labels, probabilities.argmax(1), len(EMOTIONS))
    recall = metrics.per_class(confusion)["recall"]
    return {"angry": float(recall[EMOTIONS.index("angry")]), "macro": float(recall.mean())}


def kl_divergence(probabilities: np.ndarray, votes: np.ndarray) -> float:
    """Return the mean KL divergence of (N, 7) probabilities from the vote shares in nats."""
    has_enough_votes, shares = data.seven_shares(votes)
    return float(metrics.kl_divergence(shares, probabilities[has_enough_votes]).mean())


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
    for weight in LABEL_HEAD_WEIGHTS:
        mixed = calibration.mix_heads(original, weight)
        scaling = calibration.fit(mixed, targets)
        calibrated = seven_probabilities(calibration.cross_validate(mixed, targets))
        calibrated_randomized = seven_probabilities(
            scaling(calibration.mix_heads(randomized, weight))
        )
        rows.append({
            "label_head_weight": weight,
            "kl_nats": kl_divergence(calibrated, val.votes),
            "original": recalls(calibrated, val.labels),
            "randomized": recalls(calibrated_randomized, val.labels),
        })  # fmt: skip
        print(rows[-1])
    result = {
        "run": arguments.run.name,
        "split": "PublicTest",
        "seed": SEED,
        "rows": rows,
        "label_head": {
            name: recalls(logits[:, HEADS["labels"]].softmax(1).numpy(), val.labels)
            for name, logits in (("original", original), ("randomized", randomized))
        },
        "environment": runs.environment(),
    }
    print(result["label_head"])
    runs.write_json(ROOT / "results" / f"other-domains-{arguments.run.name}.json", result)


if __name__ == "__main__":
    main()
