"""Measure the errors of shares of small and blurred faces, to choose thresholds of face flags.

    python benchmarks/flags.py --data fer2013/            # writes results/flags.json

PublicTest faces are downsampled and upsampled, or blurred, before classification. The thresholds
are in `mien/classification/flags.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.flags import sharpness
from mien.lab import data, metrics, runs
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

ROOT = Path(__file__).parent.parent


def resample(face: np.ndarray, side: int) -> np.ndarray:
    """Downsample a (48, 48) face to `side` pixels, and upsample it to its original size."""
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape, interpolation=cv2.INTER_LINEAR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    val = data.load(parser.parse_args().data)["val"]
    has_enough_votes, shares = data.seven_shares(val.votes)
    faces = val.faces[has_enough_votes]
    classify = Classifier(weights.model("default"))
    # Name -> function from a (48, 48) uint8 face to a degraded one.
    degradations = {"unchanged": lambda face: face}
    degradations |= {
        f"{side} pixels": lambda face, side=side: resample(face, side)
        for side in (36, 28, 24, 20, 16, 12, 8)
    }
    degradations |= {
        f"blur {sigma}": lambda face, sigma=sigma: cv2.GaussianBlur(face, (0, 0), sigma)
        for sigma in (0.5, 1, 1.5, 2, 3)
    }
    rows = {}
    for name, degrade in degradations.items():
        degraded = np.stack([degrade(face) for face in faces])
        predicted = np.concatenate(
            [classify(batch[:, None]) for batch in np.array_split(degraded, 16)]
        )
        seven = restrict_labels(predicted, EMOTIONS_AND_CONTEMPT, EMOTIONS)
        quantiles = np.quantile([sharpness(face[None]) for face in degraded], (0.05, 0.5, 0.95))
        rows[name] = {
            "kl_nats": float(metrics.kl_divergence(shares, seven).mean()),
            "share_calibration_error": metrics.share_calibration_error(seven, shares),
            "top_label_gap": metrics.top_label_gap(seven, shares),
            "sharpness": quantiles.round(1).tolist(),
        }
        print(
            f"{name:10s}", {key: np.round(value, 4).tolist() for key, value in rows[name].items()}
        )
    about = {"name": "small and blurred faces", "data": "FER2013 PublicTest", "faces": len(faces)}
    result = about | {"rows": rows, "environment": runs.environment()}
    runs.write_json(ROOT / "results" / "flags.json", result)


if __name__ == "__main__":
    main()
