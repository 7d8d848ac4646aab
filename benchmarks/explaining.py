"""How far `mien explain` can be trusted: hide what it names, and see what is lost. Writes results/.

python benchmarks/explaining.py --data fer2013/ --faces 300

A fifth of each face is blurred: the fifth that speaks most for the dominant emotion, the fifth that
speaks most against it, the middle of the face, and a fifth that chance chose. A map that shows what
the model goes by costs the emotion much more by the first than by the others, and nothing by the
second. Faces of PublicTest, the packaged default.
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

SHARE = 0.2
"""Of a face that is blurred."""

RESAMPLES = 1000


def blurred_where(crop: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The crop, blurred in the fifth of it that scores most: (1, S, S) uint8 -> the same."""
    side = crop.shape[-1]
    soft = cv2.GaussianBlur((score >= np.quantile(score, 1 - SHARE)).astype(np.float32), (0, 0), 1)
    sigma = occlusion.BLUR_STD * side
    dull = cv2.GaussianBlur(crop[0], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return (crop[0] * (1 - soft) + dull * soft).round().astype(np.uint8)[None]


def losses(asked: Classifier, faces: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What the dominant emotion loses by each blur: name -> (N,) shares."""

    def shares(crops: np.ndarray) -> np.ndarray:
        return restrict_labels(asked(crops), asked.spec.labels, EMOTIONS)

    side = faces.shape[-1]
    middle = -np.square(np.mgrid[:side, :side] - (side - 1) / 2).sum(0)
    found: dict[str, list[float]] = {}
    for face in faces:
        crop = face[None]
        (before,) = shares(crop[None])
        place = int(before.argmax())
        effect = occlusion.importance_map(lambda crops, k=place: shares(crops)[:, k], crop)
        chance = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 4)
        scores = {"supporting": effect, "opposing": -effect,
                  "central": middle, "random": chance}  # fmt: skip
        after = shares(np.stack([blurred_where(crop, score) for score in scores.values()]))
        for name, share in zip(scores, after[:, place], strict=True):
            found.setdefault(name, []).append(float(before[place] - share))
    return {name: np.array(lost) for name, lost in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--faces", default=300, type=int)
    wishes = parser.parse_args()
    rng = np.random.default_rng(0)
    val = data.split(data.load(wishes.data), "val")
    faces = val.faces[rng.choice(len(val.faces), wishes.faces, replace=False)]
    asked = Classifier(weights.model("default"), threads=1)
    began = time.perf_counter()
    found = losses(asked, faces, rng)
    took = (time.perf_counter() - began) / len(faces)
    rows = {}
    for name, lost in found.items():
        picks = rng.integers(0, len(lost), (RESAMPLES, len(lost)))
        low, high = np.quantile(lost[picks].mean(1), (0.025, 0.975))
        rows[name] = {"value": float(lost.mean()), "low": float(low), "high": float(high)}
        print(f"{name:25} {100 * lost.mean():5.1f} points", flush=True)
    result = {"environment": runs.about(), "model": "default", "split": "val", "faces": len(faces),
              "seed": 0, "blurred_share": SHARE, "seconds_per_face": took,
              "share_lost": rows}  # fmt: skip
    runs.write_json(ROOT / "results" / "explaining.json", result)


if __name__ == "__main__":
    main()
