"""How a detector's boxes lie relative to FER2013's crops, and what it gains to know.

    python benchmarks/geometry.py --data fer2013/

First the detector looks at FER2013's own Training faces, enlarged and with mirrored surroundings:
the median of where it puts its box is the `geometry` written in `detection/yunet.py`. Then
PublicTest faces are set into photographs, found, cut by several rules, and classified.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.flags import MIN_CONFIDENCE
from mien.classification.model_spec import CropGeometry, crop
from mien.detection import Detector, yunet
from mien.lab import data, metrics, runs
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels
from mien.results import Box
from tests.synthetic import scenes

ROOT = Path(__file__).parent.parent

ENLARGED = 144


def learn(detect: Callable, faces: np.ndarray) -> dict:
    """Median of size, right and down over the faces found, their quartiles, and how many."""
    found = []
    for face in faces:
        large = cv2.resize(face, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
        pad = ENLARGED // 2
        large = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
        for face in detect(large[..., None].repeat(3, -1))[:1]:
            x, y, w, h = face.box
            right, down = (ENLARGED - x - w / 2) / w, (ENLARGED - y - h / 2) / h
            if w > 0.4 * ENLARGED and max(abs(right), abs(down)) < 0.3:
                found.append((ENLARGED / (w * h) ** 0.5, right, down))
    quartiles = np.quantile(found, (0.25, 0.5, 0.75), axis=0).round(3)
    names = ("size", "right", "down")
    return {"found": len(found), **dict(zip(names, quartiles.T.tolist(), strict=True))}


def rules(geometry: CropGeometry) -> dict[str, Callable[[Box], Box]]:
    """Ways to cut a face for its box."""
    return {
        "the box itself, squeezed": lambda box: box,
        "a square on its longer side": lambda box: longer(box),
        "measured geometry": geometry.square,
    }


def longer(box: Box) -> Box:
    """The square around a box's centre as large as its longer side."""
    x, y, w, h = box
    side = max(w, h)
    return x + (w - side) / 2, y + (h - side) / 2, side, side


def prove(detect: Detector, val: data.Samples, made: list[scenes.Scene]) -> dict:
    """Accuracy (FER2013 labels) and divergence to the votes (bits) by rule of cutting."""
    by_votes = Classifier(weights.model("default"))
    by_label = Classifier(weights.model("default-labels"))
    cuts: dict[str, list[np.ndarray]] = {}
    which: list[int] = []
    sure: list[float] = []
    for scene in made:
        for face in detect(scene.pixels):
            box, confidence = face.box, face.confidence
            overlaps = scenes.overlap(np.asarray(box), scene.squares)
            if overlaps.max() < 0.3:
                continue
            k = int(overlaps.argmax())
            which.append(scene.which[k])
            sure.append(confidence)
            squares = {name: rule(box) for name, rule in rules(detect.geometry).items()}
            squares["where it was set"] = tuple(scene.squares[k])
            for name, square in squares.items():
                cuts.setdefault(name, []).append(crop(scene.pixels, square, 48, 1))
    labels = val.labels[which]
    asked, shares = data.seven_shares(val.votes[which])

    def measured(name: str, faces: np.ndarray, chosen: np.ndarray) -> dict:
        seven = restrict_labels(by_votes(faces[asked & chosen]), EMOTIONS_AND_CONTEMPT, EMOTIONS)
        truth = shares[chosen[asked]]
        row = {
            "faces": int(chosen.sum()),
            "accuracy": float((by_label(faces[chosen]).argmax(1) == labels[chosen]).mean()),
            "kl_nats": float(metrics.kl_divergence(truth, seven).mean()),
            "share_calibration_error": metrics.share_calibration_error(seven, truth),
        }
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in row.items())
        print(f"{detect.name:6s} {name:28s} {numbers}", flush=True)
        return row

    everybody = np.ones(len(labels), bool)
    rows = {name: measured(name, np.stack(crops), everybody) for name, crops in cuts.items()}
    low = np.array(sure) < MIN_CONFIDENCE
    faces = np.stack(cuts["measured geometry"])
    parts = {"below": low, "from": ~low}
    by_confidence = {
        f"confidence {word} {MIN_CONFIDENCE}": measured(
            f"confidence {word} {MIN_CONFIDENCE}", faces, part
        )
        for word, part in parts.items()
        if part.any()
    }
    return {"faces": len(labels), "rows": rows, "by_confidence": by_confidence}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=2000)
    options = parser.parse_args()
    splits = data.load(options.data)
    dice = np.random.default_rng(0)
    sample = splits["train"].faces[dice.integers(0, len(splits["train"]), options.faces)]
    grounds = scenes.backgrounds()
    cells = np.array_split(
        dice.permutation(len(splits["val"]))[: options.faces], options.faces // 4
    )
    made = [
        scenes.compose(splits["val"].faces, which, grounds[k % len(grounds)], dice)
        for k, which in enumerate(cells)
    ]
    result = {}
    for detect in (yunet.load(),):
        learned = learn(detect, sample)
        print(detect.name, learned)
        result[detect.name] = {"learned": learned, "proved": prove(detect, splits["val"], made)}
    about = {"what": "crop geometry", "data": "FER2013 Training (learned), PublicTest (proved)"}
    runs.write_json(ROOT / "results" / "geometry.json", about | result | {"measured": runs.about()})


if __name__ == "__main__":
    main()
