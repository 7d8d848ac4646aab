"""Measure whether `mien explain` is faithful, by blurring the regions that its map marks.

    python benchmarks/explaining.py --data fer2013/ --faces 300    # writes results/explaining.json

One fifth of each face is blurred: the fifth with the highest importance (supporting) or the lowest
(opposing), the center (central), or a random fifth. If the map is faithful, the share of the
dominant emotion drops much more when the supporting fifth is blurred than when another fifth is,
and it does not drop when the opposing fifth is blurred. Faces are from PublicTest, and the model is
`default`.
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
"""Number of bootstrap samples of the faces, for the 95 % intervals."""


def blur_highest(crop: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Blur the fifth of a (1, S, S) uint8 crop in which the (S, S) scores are highest."""
    side = crop.shape[-1]
    is_blurred = score >= np.quantile(score, 1 - BLURRED_FRACTION)
    mask = cv2.GaussianBlur(is_blurred.astype(np.float32), (0, 0), 1)  # soft edges
    sigma = occlusion.BLUR_STD * side
    blurred = cv2.GaussianBlur(crop[0], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return (crop[0] * (1 - mask) + blurred * mask).round().astype(np.uint8)[None]


def share_reductions(
    classify: Classifier, faces: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Measure how much blurring each region reduces the share of the dominant emotion.

    Args:
        classify: The classifier.
        faces: (N, S, S) uint8.
        rng: Random generator of the random region.

    Returns:
        Blurred region -> (N,) reductions.
    """

    def shares(crops: np.ndarray) -> np.ndarray:
        return restrict_labels(classify(crops), classify.spec.labels, EMOTIONS)

    side = faces.shape[-1]
    central = -np.square(np.mgrid[:side, :side] - (side - 1) / 2).sum(0)
    reductions: dict[str, list[float]] = {}
    for face in faces:
        crop = face[None]
        (before,) = shares(crop[None])
        dominant = int(before.argmax())
        importance = occlusion.importance_map(lambda crops, k=dominant: shares(crops)[:, k], crop)
        # Smooth noise, so that the random fifth consists of coherent areas, like those of the map.
        random = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 4)
        scores = {"supporting": importance, "opposing": -importance,
                  "central": central, "random": random}  # fmt: skip
        after = shares(np.stack([blur_highest(crop, score) for score in scores.values()]))
        for name, share in zip(scores, after[:, dominant], strict=True):
            reductions.setdefault(name, []).append(float(before[dominant] - share))
    return {name: np.array(values) for name, values in reductions.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--faces", default=300, type=int, help="number of faces")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    val = data.split(data.load(args.data), "val")
    faces = val.faces[rng.choice(len(val.faces), args.faces, replace=False)]
    classify = Classifier(weights.model("default"), threads=1)
    started = time.perf_counter()
    reductions = share_reductions(classify, faces, rng)
    seconds_per_face = (time.perf_counter() - started) / len(faces)
    rows = {}
    for name, values in reductions.items():
        samples = rng.integers(0, len(values), (RESAMPLES, len(values)))
        low, high = np.quantile(values[samples].mean(1), (0.025, 0.975))
        rows[name] = {"value": float(values.mean()), "low": float(low), "high": float(high)}
        print(f"{name:25} {100 * values.mean():5.1f} percentage points", flush=True)
    result = {"environment": runs.environment(), "model": "default", "split": "val",
              "faces": len(faces), "seed": 0, "blurred_share": BLURRED_FRACTION,
              "seconds_per_face": seconds_per_face, "share_lost": rows}  # fmt: skip
    runs.write_json(ROOT / "results" / "explaining.json", result)


if __name__ == "__main__":
    main()
