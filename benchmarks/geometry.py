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


def measure_geometry(detect: Callable, faces: np.ndarray) -> dict:
    """Return the number of detected faces and the quartiles of each parameter of the geometry."""
    measurements = []
    for face in faces:
        large = cv2.resize(face, (ENLARGED_SIDE, ENLARGED_SIDE), interpolation=cv2.INTER_CUBIC)
        pad = ENLARGED_SIDE // 2
        large = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
        for detection in detect(large[..., None].repeat(3, -1))[:1]:
            x, y, w, h = detection.box
            right, down = (ENLARGED_SIDE - x - w / 2) / w, (ENLARGED_SIDE - y - h / 2) / h
            if w > 0.4 * ENLARGED_SIDE and max(abs(right), abs(down)) < 0.3:
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
            if overlaps.max() < 0.3:
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
    """Measure accuracy on FER2013 labels and KL divergence from the votes for each crop rule."""
    vote_classifier = Classifier(weights.model("default"))
    label_classifier = Classifier(weights.model("default-labels"))
    crops = collect_crops(detect, composed)
    labels = val.labels[crops.indices]
    has_votes, shares = data.seven_shares(val.votes[crops.indices])

    def row(name: str, faces: np.ndarray, selected: np.ndarray) -> dict:
        predicted = restrict_labels(
            vote_classifier(faces[has_votes & selected]), EMOTIONS_AND_CONTEMPT, EMOTIONS
        )
        target = shares[selected[has_votes]]
        scores = {
            "faces": int(selected.sum()),
            "accuracy": float(
                (label_classifier(faces[selected]).argmax(1) == labels[selected]).mean()
            ),
            "kl_nats": float(metrics.kl_divergence(target, predicted).mean()),
            "share_calibration_error": metrics.share_calibration_error(predicted, target),
        }
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
        print(f"{detect.name:6s} {name:28s} {numbers}", flush=True)
        return scores

    all_faces = np.ones(len(labels), bool)
    rows = {name: row(name, np.stack(faces), all_faces) for name, faces in crops.by_rule.items()}
    has_low_confidence = np.array(crops.confidences) < LOW_CONFIDENCE
    faces = np.stack(crops.by_rule["fitted geometry"])
    by_confidence = {
        f"confidence {word} {LOW_CONFIDENCE}": row(
            f"confidence {word} {LOW_CONFIDENCE}", faces, selected
        )
        for word, selected in {"below": has_low_confidence, "from": ~has_low_confidence}.items()
        if selected.any()
    }
    return {"faces": len(labels), "rows": rows, "by_confidence": by_confidence}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=2000)
    options = parser.parse_args()
    splits = data.load(options.data)
    rng = np.random.default_rng(0)
    sample = splits["train"].faces[rng.integers(0, len(splits["train"]), options.faces)]
    backgrounds = scenes.backgrounds()
    groups = np.array_split(
        rng.permutation(len(splits["val"]))[: options.faces], options.faces // 4
    )
    composed = [
        scenes.compose(splits["val"].faces, indices, backgrounds[k % len(backgrounds)], rng)
        for k, indices in enumerate(groups)
    ]
    result = {}
    for detect in (yunet.load(),):
        measured = measure_geometry(detect, sample)
        print(detect.name, measured)
        result[detect.name] = {
            "fitted": measured,
            "evaluation": evaluate(detect, splits["val"], composed),
        }
    about = {"name": "crop geometry", "data": "FER2013 Training (fitted), PublicTest (evaluation)"}
    runs.write_json(
        ROOT / "results" / "geometry.json", about | result | {"environment": runs.environment()}
    )


if __name__ == "__main__":
    main()
