"""Faithfulness of `mien explain`: blur the regions it finds important and measure the lost share.

    python benchmarks/explaining.py --data fer2013/ --faces 300    # writes results/explaining.json

A fifth of each face is blurred: the fifth with the most evidence for the dominant emotion
(supporting), the fifth with the most evidence against it (opposing), the center of the face
(central), and a random fifth. If the map is faithful, blurring the supporting fifth loses much more
of the share than the others, and the opposing fifth none. Faces of PublicTest, model `default`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from mien.classification import occlusion, weights
from mien.classification.classifier import Classifier
from mien.lab import data, runs
from mien.labels import EMOTIONS, restrict_labels

ROOT = Path(__file__).parent.parent

BLURRED_FRACTION = 0.2
"""Fraction of the face that is blurred."""

RESAMPLES = 1000


def blur_highest(crop: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Blur the fifth of a crop with the highest scores: (1, S, S) uint8 -> the same."""
    side = crop.shape[-1]
    mask = cv2.GaussianBlur(
        (score >= np.quantile(score, 1 - BLURRED_FRACTION)).astype(np.float32), (0, 0), 1
    )
    sigma = occlusion.BLUR_STD * side
    blurred = cv2.GaussianBlur(crop[0], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return (crop[0] * (1 - mask) + blurred * mask).round().astype(np.uint8)[None]


def share_losses(
    classify: Classifier, faces: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The loss of the dominant emotion's share by each blur: name -> (N,)."""

    def shares(crops: np.ndarray) -> np.ndarray:
        return restrict_labels(classify(crops), classify.spec.labels, EMOTIONS)

    side = faces.shape[-1]
    central = -np.square(np.mgrid[:side, :side] - (side - 1) / 2).sum(0)
    losses: dict[str, list[float]] = {}
    for face in faces:
        crop = face[None]
        (before,) = shares(crop[None])
        dominant = int(before.argmax())
        importance = occlusion.importance_map(lambda crops, k=dominant: shares(crops)[:, k], crop)
        random = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 4)
        scores = {"supporting": importance, "opposing": -importance,
                  "central": central, "random": random}  # fmt: skip
        after = shares(np.stack([blur_highest(crop, score) for score in scores.values()]))
        for name, share in zip(scores, after[:, dominant], strict=True):
            losses.setdefault(name, []).append(float(before[dominant] - share))
    return {name: np.array(lost) for name, lost in losses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--faces", default=300, type=int)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    val = data.split(data.load(args.data), "val")
    faces = val.faces[rng.choice(len(val.faces), args.faces, replace=False)]
    classify = Classifier(weights.model("default"), threads=1)
    started = time.perf_counter()
    losses = share_losses(classify, faces, rng)
    seconds_per_face = (time.perf_counter() - started) / len(faces)
    rows = {}
    for name, lost in losses.items():
        samples = rng.integers(0, len(lost), (RESAMPLES, len(lost)))
        low, high = np.quantile(lost[samples].mean(1), (0.025, 0.975))
        rows[name] = {"value": float(lost.mean()), "low": float(low), "high": float(high)}
        print(f"{name:25} {100 * lost.mean():5.1f} points", flush=True)
    result = {"environment": runs.about(), "model": "default", "split": "val", "faces": len(faces),
              "seed": 0, "blurred_share": BLURRED_FRACTION, "seconds_per_face": seconds_per_face,
              "share_lost": rows}  # fmt: skip
    runs.write_json(ROOT / "results" / "explaining.json", result)


if __name__ == "__main__":
    main()
