"""Fit the geometry of detected boxes relative to FER2013 crops, and measure its effect.

    python benchmarks/geometry.py --data fer2013/

First, the detector runs on enlarged FER2013 training faces with reflected borders. The median
position of the faces relative to its boxes is the `geometry` in `detection/yunet.py`. Then,
PublicTest faces are pasted into photographs, detected, cropped by several rules, and classified.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.flags import LOW_CONFIDENCE
from mien.classification.model_spec import CropGeometry, crop
from mien.detection import Detector, yunet
from mien.lab import data, metrics, runs
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels
from mien.results import Box
from tests.synthetic import scenes

ROOT = Path(__file__).parent.parent

ENLARGED_SIDE = 144
"""Side in pixels to which faces are enlarged for detection."""

MIN_RELATIVE_WIDTH, MAX_OFFSET = 0.4, 0.3
"""Limits for the width of a box relative to the face, and for the distance of their centers
relative to the box, beyond which a detection is not counted."""

MIN_OVERLAP = 0.3
"""Minimum intersection over union of a box and a pasted face. It is low, because the boxes differ
in size and position from FER2013's crops."""

FACES_PER_SCENE = 4


def measure_geometry(detect: Detector, faces: np.ndarray) -> dict:
    """Measure where a detector's boxes are relative to (N, 48, 48) uint8 FER2013 faces.

    Returns:
        Number of detected faces, and the three quartiles of each attribute of `CropGeometry`.
    """
    measurements = []
    for face in faces:
        large = cv2.resize(face, (ENLARGED_SIDE, ENLARGED_SIDE), interpolation=cv2.INTER_CUBIC)
        pad = ENLARGED_SIDE // 2
        large = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
        for detection in detect(large[..., None].repeat(3, -1))[:1]:
            x, y, w, h = detection.box
            # With the borders, the center of the face is at (ENLARGED_SIDE, ENLARGED_SIDE).
            right, down = (ENLARGED_SIDE - x - w / 2) / w, (ENLARGED_SIDE - y - h / 2) / h
            is_large = w > MIN_RELATIVE_WIDTH * ENLARGED_SIDE
            if is_large and max(abs(right), abs(down)) < MAX_OFFSET:
                measurements.append((ENLARGED_SIDE / (w * h) ** 0.5, right, down))
    quartiles = np.quantile(measurements, (0.25, 0.5, 0.75), axis=0).round(3)
    names = ("size", "right", "down")
    return {"detected": len(measurements), **dict(zip(names, quartiles.T.tolist(), strict=True))}


def crop_rules(geometry: CropGeometry) -> dict[str, Callable[[Box], Box]]:
    """Return rules that map the box of a face to a crop region."""
    return {
        "the box, resized to a square": lambda box: box,
        "a square on its longer side": square_on_longer_side,
        "fitted geometry": geometry.square,
    }


def square_on_longer_side(box: Box) -> Box:
    """Return the square with the center and the longer side of a box."""
    x, y, w, h = box
    side = max(w, h)
    return x + (w - side) / 2, y + (h - side) / 2, side, side


@dataclass
class Crops:
    """Crops of all detected faces by rule, and index and detection confidence of each face."""

    by_rule: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    indices: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)


def collect_crops(detect: Detector, composed: list[scenes.Scene]) -> Crops:
    """Detect the faces of scenes, and crop them by every rule."""
    crops = Crops()
    for scene in composed:
        for face in detect(scene.pixels):
            overlaps = scenes.overlap(np.asarray(face.box), scene.squares)
            if overlaps.max() < MIN_OVERLAP:
                continue
            k = int(overlaps.argmax())
            crops.indices.append(scene.indices[k])
            crops.confidences.append(face.confidence)
            regions = {name: rule(face.box) for name, rule in crop_rules(detect.geometry).items()}
            regions["true square"] = tuple(scene.squares[k])
            for name, region in regions.items():
                crops.by_rule[name].append(crop(scene.pixels, region, 48, 1))
    return crops


def evaluate(detect: Detector, val: data.Samples, composed: list[scenes.Scene]) -> dict:
    """Measure the scores of classification for each crop rule, and by detection confidence."""
    vote_classifier = Classifier(weights.model("default"))
    label_classifier = Classifier(weights.model("default-labels"))
    crops = collect_crops(detect, composed)
    labels = val.labels[crops.indices]
    has_enough_votes, shares = data.seven_shares(val.votes[crops.indices])

    def measure(name: str, faces: np.ndarray, selected: np.ndarray) -> dict:
        predicted = restrict_labels(
            vote_classifier(faces[has_enough_votes & selected]), EMOTIONS_AND_CONTEMPT, EMOTIONS
        )
        target = shares[selected[has_enough_votes]]
        scores = {
            "faces": int(selected.sum()),
            "accuracy": float(
                (label_classifier(faces[selected]).argmax(1) == labels[selected]).mean()
            ),
            "kl_nats": float(metrics.kl_divergence(target, predicted).mean()),
            "share_calibration_error": metrics.share_calibration_error(predicted, target),
        }
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
        print(f"{name:28s} {numbers}", flush=True)
        return scores

    all_faces = np.ones(len(labels), bool)
    rows = {
        name: measure(name, np.stack(faces), all_faces) for name, faces in crops.by_rule.items()
    }
    has_low_confidence = np.array(crops.confidences) < LOW_CONFIDENCE
    faces = np.stack(crops.by_rule["fitted geometry"])
    by_confidence = {}
    for name, selected in (
        (f"confidence below {LOW_CONFIDENCE}", has_low_confidence),
        (f"confidence from {LOW_CONFIDENCE}", ~has_low_confidence),
    ):
        if selected.any():
            by_confidence[name] = measure(name, faces, selected)
    return {"faces": len(labels), "rows": rows, "by_confidence": by_confidence}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=2000, help="number of faces of each split")
    options = parser.parse_args()
    splits = data.load(options.data)
    rng = np.random.default_rng(0)
    sample = splits["train"].faces[rng.integers(0, len(splits["train"]), options.faces)]
    backgrounds = scenes.backgrounds()
    groups = np.array_split(
        rng.permutation(len(splits["val"]))[: options.faces], options.faces // FACES_PER_SCENE
    )
    composed = [
        scenes.compose(splits["val"].faces, indices, backgrounds[k % len(backgrounds)], rng)
        for k, indices in enumerate(groups)
    ]
    detect = yunet.load()
    fitted = measure_geometry(detect, sample)
    print(fitted)
    result = {
        "name": "crop geometry",
        "data": "FER2013 Training (fitted), PublicTest (evaluation)",
        detect.name: {"fitted": fitted, "evaluation": evaluate(detect, splits["val"], composed)},
        "environment": runs.environment(),
    }
    runs.write_json(ROOT / "results" / "geometry.json", result)


if __name__ == "__main__":
    main()
