"""Train the roll network, and measure the effect of roll and yaw of heads.

    python benchmarks/pose.py train --data fer2013/     # writes src/mien/detection/roll.onnx
    python benchmarks/pose.py measure --data fer2013/   # prints tables, writes results/pose.json

YuNet was trained on upright heads, so the landmarks that it predicts hardly rotate with a rolled
head. The roll network (`benchmarks/roll_training.py`) estimates the roll instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

import mien
from benchmarks import roll_training
from mien.classification import crops, weights
from mien.classification.classifier import Classifier
from mien.detection import _roll, yunet
from mien.lab import data, runs
from mien.labels import EMOTIONS
from mien.results import Box, estimate_yaw
from tests.synthetic import scenes

ROOT = Path(__file__).parent.parent

ANGLES = (0, 15, 30, 45, 60, 90, 120, 150, 180)
"""Clockwise rotations in degrees."""

ALIGNMENT_ANGLES = (0, 10, 25, 40, 60, 90)
"""Clockwise rotations in degrees for `alignment`, below and above `crops.MIN_ROLL_TO_ALIGN`."""

ENLARGED_SIDE, BORDER = 192, 48
"""Side to which `by_yaw` enlarges faces for detection, and width of the reflected border around
them, in pixels."""

YAW_EDGES = (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 1.01)
"""Edges of the bins of `by_yaw`. The last one is above 1, so that 1 is in the last bin."""


def angle_errors(faces: np.ndarray) -> dict:
    """Measure the error of the estimated roll for each angle of `ANGLES`.

    Returns:
        Angle -> median error in degrees, and fractions of errors above 15 and 30 degrees.
    """
    roll_estimator = _roll.RollEstimator()
    rows = {}
    for angle in ANGLES:
        rotated = rotate_faces(faces, angle)
        errors = np.abs((roll_estimator.estimate(rotated) - angle + 180) % 360 - 180)
        rows[angle] = {
            "median": float(np.median(errors)),
            "over_15": float((errors > 15).mean()),
            "over_30": float((errors > 30).mean()),
        }
    return rows


def alignment(val: data.Samples) -> dict:
    """Measure the accuracy on rotated PublicTest faces, unaligned and aligned by their roll.

    Returns:
        Angle -> fraction of faces that are aligned, and accuracy without and with alignment.
    """
    roll_estimator = _roll.RollEstimator()
    classify = Classifier(weights.model("default-labels"))

    def accuracy(faces: np.ndarray) -> float:
        outputs = np.concatenate([classify(chunk) for chunk in np.array_split(faces, 16)])
        return float((outputs.argmax(1) == val.labels).mean())

    rows = {}
    for angle in ALIGNMENT_ANGLES:
        rotated = rotate_faces(val.faces, angle)
        rolls, aligned = roll_estimator.estimate(rotated), rotated.copy()
        rolled = np.flatnonzero(np.abs(rolls) > crops.MIN_ROLL_TO_ALIGN)
        for k in rolled:
            pixels = rotated[k, 0][..., None].repeat(3, -1)
            aligned[k] = crops.crop_upright(pixels, (0.0, 0.0, 48.0, 48.0), 48, 1, float(rolls[k]))
        rows[angle] = {
            "aligned": len(rolled) / len(val),
            "accuracy_unaligned": accuracy(rotated),
            "accuracy_aligned": accuracy(aligned),
        }
    return rows


def rotate_faces(faces: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate (N, 48, 48) uint8 faces clockwise: (N, 1, 48, 48) uint8, with reflected borders."""
    rotated = roll_training.rotate(
        torch.as_tensor(faces)[:, None], torch.full((len(faces),), float(degrees))
    )
    return rotated.clamp(0, 255).round().to(torch.uint8).numpy()


def rotate_image(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotate an image clockwise on a canvas that contains it; return it and the (2, 3) matrix."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(pixels, matrix, size, borderValue=(127, 127, 127)), matrix


def scenes_by_angle(val: data.Samples, count: int) -> dict:
    """Measure detection and emotion on scenes with one face, rotated by each angle of `ANGLES`.

    Args:
        val: The faces that are pasted into photographs.
        count: Number of scenes.

    Returns:
        Angle -> `mien` (`mien.Analyzer`) and `yunet_alone` (see `analyze_with_yunet_alone`) ->
        the numbers of `measure_scenes`.
    """
    rng, backgrounds = np.random.default_rng(0), scenes.backgrounds()
    composed = []
    for k in range(count):
        background = cv2.resize(backgrounds[k % len(backgrounds)], (480, 480))
        composed.append(scenes.compose(val.faces, rng.integers(0, len(val), 1), background, rng))
    analyzer = mien.Analyzer("default-labels", threads=1)
    upright_analyzer = mien.Analyzer("default-labels", UprightYuNet(), threads=1)
    rows: dict = {}
    for angle in ANGLES:
        images = [rotate_image(scene.pixels, angle) for scene in composed]
        frames = [mien.Frame(pixels) for pixels, _ in images]
        centers = []
        for (_, matrix), scene in zip(images, composed, strict=True):
            x, y, side, _ = scene.squares[0]
            centers.append(matrix @ (x + side / 2, y + side / 2, 1))
        results = analyzer.analyze_frames(frames)
        results_of_yunet = analyze_with_yunet_alone(upright_analyzer, frames)
        rows[angle] = {
            "mien": measure_scenes(results, composed, centers, val.labels),
            "yunet_alone": measure_scenes(results_of_yunet, composed, centers, val.labels),
        }
        print(angle, rows[angle], flush=True)
    return rows


def measure_scenes(
    results: Iterable[mien.Result],
    composed: Sequence[scenes.Scene],
    centers: Sequence[np.ndarray],
    labels: np.ndarray,
) -> dict[str, float]:
    """Compare the results of rotated scenes with the ground truth.

    Args:
        results: The result of each scene.
        composed: The scenes before the rotation, with one face each.
        centers: x and y of the center of the face in each rotated scene.
        labels: FER2013 labels of the dataset from which the faces are.

    Returns:
        `recall`, the fraction of scenes in which the face is detected; `correct`, the fraction in
        which its dominant emotion also is the label; and the number of `false_boxes`.
    """
    detected = correct = false_boxes = 0
    for result, scene, center in zip(results, composed, centers, strict=True):
        side = scene.squares[0][2]
        matching_faces = [face for face in result if _is_at(face.box, center, side)]
        false_boxes += len(result) - len(matching_faces)
        if matching_faces:
            detected += 1
            label = EMOTIONS[labels[scene.indices[0]]]
            correct += matching_faces[0].dominant_emotion == label
    return {
        "recall": detected / len(composed),
        "false_boxes": false_boxes,
        "correct": correct / len(composed),
    }


def analyze_with_yunet_alone(
    analyzer: mien.Analyzer, frames: Iterable[mien.Frame]
) -> list[mien.Result]:
    """Analyze each image as a video of one frame: mien searches rotated copies only of images.

    Args:
        analyzer: An analyzer with the detector `UprightYuNet`.
        frames: The images.
    """
    return [analyzer.session().update(frame.pixels, 0.0) for frame in frames]


class UprightYuNet:
    """YuNet with the roll 0 for every face, so that mien does not estimate it."""

    name, geometry = "yunet", yunet.YuNet.geometry

    def __init__(self) -> None:
        self._detect = yunet.load()

    def __call__(self, pixels: np.ndarray) -> list[mien.Detection]:
        """Detect the faces of an (H, W, 3) uint8 RGB image."""
        return [replace(face, roll=0.0) for face in self._detect(pixels)]


def _is_at(box: Box, center: np.ndarray, side: float) -> bool:
    """Return whether a box has about the center and the side of a face."""
    distance = np.hypot(box[0] + box[2] / 2 - center[0], box[1] + box[3] / 2 - center[1])
    # The limits are wide, because the boxes differ in size and position from FER2013's crops.
    return distance < 0.35 * side and 0.4 < (box[2] * box[3]) ** 0.5 / side < 1.6


def false_positives() -> dict:
    """Count false positives on photographs without people, at three sizes and four angles.

    Returns:
        Number of images, and number of false boxes of `mien` and `yunet_alone`.
    """
    backgrounds = scenes.backgrounds()
    images = [
        cv2.resize(background, None, fx=scale, fy=scale)
        for background in backgrounds
        for scale in (0.5, 1, 1.7)
    ]
    images += [
        rotate_image(background, angle)[0]
        for background in backgrounds
        for angle in (20, 70, 110, 200)
    ]
    frames = [mien.Frame(pixels) for pixels in images]
    results = {
        "mien": mien.Analyzer().analyze_frames(frames),
        "yunet_alone": analyze_with_yunet_alone(mien.Analyzer(detector=UprightYuNet()), frames),
    }
    boxes = {name: sum(map(len, results_of_images)) for name, results_of_images in results.items()}
    return {"images": len(images), "false_boxes": boxes}


def by_yaw(val: data.Samples) -> dict:
    """Measure the accuracy on PublicTest in bins of the absolute sine of the yaw.

    The yaw is estimated from YuNet's landmarks; faces that YuNet does not detect are omitted.

    Returns:
        Bin, such as "0.05 to 0.1" -> number of faces, and accuracy; None for a bin without faces.
    """
    detect = yunet.load()
    analyzer = mien.Analyzer("default-labels", "whole", threads=1)
    yaws, is_correct = [], []
    for face, label in zip(val.faces, val.labels, strict=True):
        large = cv2.resize(face, (ENLARGED_SIDE, ENLARGED_SIDE), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REFLECT_101)
        detections = detect(large[..., None].repeat(3, -1))[:1]
        if not detections or not detections[0].landmarks:
            continue
        yaws.append(abs(estimate_yaw(detections[0].landmarks)))
        (analyzed,) = analyzer.analyze(face[..., None].repeat(3, -1))
        is_correct.append(analyzed.dominant_emotion == EMOTIONS[label])
    bins = np.digitize(yaws, YAW_EDGES) - 1
    rows = {}
    for k, (low, high) in enumerate(pairwise(YAW_EDGES)):
        is_correct_in_bin = np.array(is_correct)[bins == k]
        rows[f"{low:g} to {high:g}"] = {
            "faces": len(is_correct_in_bin),
            "accuracy": float(is_correct_in_bin.mean()) if len(is_correct_in_bin) else None,
        }
    return rows


def measure(folder: Path, scene_count: int) -> None:
    """Run all measurements, print them, and write `results/pose.json`.

    Args:
        folder: The folder of FER2013.
        scene_count: Number of synthetic scenes.
    """
    val = data.load(folder)["val"]
    result = {"name": "pose", "data": "FER2013 PublicTest"}
    result["roll_error"] = angle_errors(val.faces)
    print(*result["roll_error"].items(), sep="\n", flush=True)
    result["alignment"] = alignment(val)
    print(*result["alignment"].items(), sep="\n", flush=True)
    result["yaw"] = by_yaw(val)
    print(*result["yaw"].items(), sep="\n", flush=True)
    result["empty"] = false_positives()
    print(result["empty"], flush=True)
    result["scenes"] = {"faces": scene_count, "by_angle": scenes_by_angle(val, scene_count)}
    runs.write_json(ROOT / "results" / "pose.json", result | {"environment": runs.environment()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "measure"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=96, help="number of scenes with one face")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.action == "train":
        roll_training.train(options.data, _roll.FILE)
    else:
        measure(options.data, options.faces)


if __name__ == "__main__":
    main()
