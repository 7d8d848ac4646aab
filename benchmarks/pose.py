"""Train the roll network, and measure the effect of roll and yaw of heads.

    python benchmarks/pose.py train --data fer2013/     # writes src/mien/detection/roll.onnx
    python benchmarks/pose.py measure --data fer2013/   # prints tables, writes results/pose.json

YuNet was trained on upright heads, and its landmarks hardly rotate with a tilted one. The roll
network is trained on randomly rotated FER2013 training faces and evaluated on PublicTest.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import mien
from mien.classification import crops, weights
from mien.classification.classifier import Classifier
from mien.detection import _roll, yunet
from mien.lab import augmentation, batches, data, runs
from mien.labels import EMOTIONS
from mien.results import estimate_yaw
from tests.synthetic import scenes

SIDE = 48
STEPS, BATCH, LR, SEED = 14_000, 192, 3e-3, 0


class RollNet(nn.Module):
    """Network that estimates the cosine and sine of the roll of (N, 1, 48, 48) uint8 faces.

    The length of the output vectors, 0 to about 1, is the confidence. Only the inscribed circle of
    the image is used, because the corners would reveal the rotation of training images. The network
    has 80,000 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        self.register_buffer("circle", torch.tensor(np.hypot(x, y) < SIDE / 2)[None, None])
        widths = (1, 16, 32, 64, 64)
        self.features = nn.Sequential()
        for k, (in_channels, out_channels) in enumerate(pairwise(widths)):
            size = 5 if k == 0 else 3
            self.features.append(
                nn.Conv2d(in_channels, out_channels, size, 2, size // 2, bias=False)
            )
            self.features.append(nn.BatchNorm2d(out_channels))
            self.features.append(nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 9, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, faces: Tensor) -> Tensor:
        """Compute (N, 2) vectors from (N, 1, 48, 48) gray values."""
        x = torch.where(self.circle, batches.standardize(faces), 0.0)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.head(self.features(x))


def augment(faces: Tensor, degrees: Tensor, rng: Generator) -> Tensor:
    """Transform faces at random, and rotate them clockwise by the given degrees."""
    count = len(faces)
    uniform = torch.rand(6, count, generator=rng)
    angle = -degrees * math.pi / 180
    zoom = 0.8 * (1.35 / 0.8) ** uniform[0]
    mirror = torch.where(uniform[1] < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * angle.cos() * zoom, -mirror * angle.sin() * zoom
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom
    theta[:, :, 2] = (uniform[2:4].T - 0.5) * 0.4
    grid = F.affine_grid(theta, [count, 1, SIDE, SIDE], align_corners=False)
    warped = F.grid_sample(faces.float(), grid, padding_mode="reflection", align_corners=False)
    warped = augmentation.gaussian_blur(warped, uniform[4] * 1.2)
    mean = warped.mean((1, 2, 3), keepdim=True)
    contrast = (0.5 + uniform[5]).view(-1, 1, 1, 1)
    shift = (torch.rand(count, 1, 1, 1, generator=rng) - 0.5) * 60
    return ((warped - mean) * contrast + mean + shift).clamp(0, 255).round()


def train(folder: Path, out: Path) -> None:
    """Train on the FER2013 training set, and write the network."""
    faces = torch.as_tensor(data.load(folder)["train"].faces)[:, None]
    torch.manual_seed(SEED)
    rng = Generator().manual_seed(SEED)
    network = RollNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, STEPS)
    start, running_loss = time.time(), 0.0
    for step in range(STEPS):
        indices = torch.randint(len(faces), (BATCH,), generator=rng)
        # Most heads in images are nearly upright, so about 40 % are rotated by at most 20 degrees.
        degrees = (torch.rand(BATCH, generator=rng) - 0.5) * 360
        is_upright = torch.rand(BATCH, generator=rng) < 0.4
        degrees = torch.where(is_upright, degrees / 9, degrees)
        target = torch.stack([(degrees * math.pi / 180).cos(), (degrees * math.pi / 180).sin()], 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported()):
            direction = network(augment(faces[indices], degrees, rng)).float()
        loss = F.mse_loss(direction, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running_loss = 0.99 * running_loss + 0.01 * loss.item()
        if step % 500 == 499:
            print(
                f"step {step + 1}  loss {running_loss:.4f}  {time.time() - start:.0f} s", flush=True
            )
    network.eval()
    network.to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network, (example,), dynamo=True, input_names=["faces"], output_names=["direction"],
        dynamic_shapes=({0: batch},), opset_version=18,
    )  # fmt: skip
    save(program.model_proto, out)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{out}: {out.stat().st_size} bytes, {parameters} parameters")


def save(model: onnx.ModelProto, out: Path) -> None:
    """Write the network with a model card and without the metadata that torch adds."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    about = {
        "mien.card": json.dumps({
            "what": "cosine and sine of a head's roll, clockwise, from a gray face of 48 pixels",
            "data": "FER2013 Training, rotated at random", "seed": SEED, "steps": STEPS,
            "made_by": "benchmarks/pose.py train", "results": "results/pose.json",
        }),
    }  # fmt: skip
    onnx.helper.set_model_props(model, about)
    onnx.save(model, out)


ANGLES = (0, 15, 30, 45, 60, 90, 120, 150, 180)
"""Clockwise rotations in degrees."""


def angle_errors(faces: np.ndarray) -> dict:
    """Measure the error of the estimated roll for each angle of `ANGLES`.

    Returns:
        Angle -> median error in degrees, and fractions of errors above 15 and 30 degrees.
    """
    estimate_roll = _roll.RollEstimator()
    rows = {}
    for angle in ANGLES:
        degrees = torch.full((len(faces),), float(angle))
        rotated = rotate_faces(torch.as_tensor(faces)[:, None], degrees).numpy()
        errors = np.abs((estimate_roll.estimate(rotated) - angle + 180) % 360 - 180)
        rows[angle] = {
            "median": float(np.median(errors)),
            "over_15": float((errors > 15).mean()),
            "over_30": float((errors > 30).mean()),
        }
    return rows


def alignment(val: data.Samples) -> dict:
    """Measure the accuracy on rotated PublicTest faces, unaligned and aligned by their roll."""
    estimate_roll, classify = _roll.RollEstimator(), Classifier(weights.model("default-labels"))

    def accuracy(faces: np.ndarray) -> float:
        outputs = np.concatenate([classify(chunk) for chunk in np.array_split(faces, 16)])
        return float((outputs.argmax(1) == val.labels).mean())

    rows = {}
    for angle in (0, 10, 25, 40, 60, 90):
        faces = torch.as_tensor(val.faces)[:, None]
        rotated = rotate_faces(faces, torch.full((len(faces),), float(angle))).numpy()
        rolls, aligned = estimate_roll.estimate(rotated), rotated.copy()
        tilted = np.flatnonzero(np.abs(rolls) > crops.MIN_ROLL_TO_ALIGN)
        for k in tilted:
            pixels = rotated[k, 0][..., None].repeat(3, -1)
            aligned[k] = crops.crop_upright(pixels, (0.0, 0.0, 48.0, 48.0), 48, 1, float(rolls[k]))
        rows[angle] = {
            "aligned": len(tilted) / len(faces),
            "accuracy_unaligned": accuracy(rotated),
            "accuracy_aligned": accuracy(aligned),
        }
    return rows


def rotate_faces(faces: Tensor, degrees: Tensor) -> Tensor:
    """Rotate (N, 1, 48, 48) uint8 faces clockwise with reflected borders."""
    angle = -degrees * math.pi / 180
    theta = torch.zeros(len(faces), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos(), -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos()
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    rotated = F.grid_sample(faces.float(), grid, padding_mode="reflection", align_corners=False)
    return rotated.clamp(0, 255).round().to(torch.uint8)


def rotate_image(pixels: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotate an image clockwise on a canvas that contains it; return it and the (2, 3) matrix."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(pixels, matrix, size, borderValue=(127, 127, 127)), matrix


def scenes_by_angle(val: data.Samples, count: int) -> dict:
    """Measure recall, false positives and accuracy on rotated scenes with one face.

    `yunet_alone` is YuNet without roll estimation or rotated copies, and `mien` is `mien.Analyzer`.
    """
    rng, backgrounds = np.random.default_rng(0), scenes.backgrounds()
    composed = []
    for k in range(count):
        background = cv2.resize(backgrounds[k % len(backgrounds)], (480, 480))
        composed.append(scenes.compose(val.faces, rng.integers(0, len(val), 1), background, rng))
    analyzers = {
        "mien": mien.Analyzer("default-labels", threads=1),
        "yunet_alone": mien.Analyzer("default-labels", UprightOnly(), threads=1),
    }
    rows: dict = {}
    for angle in ANGLES:
        for name, analyzer in analyzers.items():
            analyze = ANALYZE[name]
            detected = correct = false_positives = 0
            for scene in composed:
                pixels, matrix = rotate_image(scene.pixels, angle)
                x, y, side, _ = scene.squares[0]
                center = matrix @ (x + side / 2, y + side / 2, 1)
                (faces,) = analyze(analyzer, [mien.Frame(pixels)])
                matching_faces = [face for face in faces if _is_at(face.box, center, side)]
                detected += bool(matching_faces)
                false_positives += len(faces) - len(matching_faces)
                truth = EMOTIONS[val.labels[scene.indices[0]]]
                correct += bool(matching_faces) and matching_faces[0].dominant_emotion == truth
            rows.setdefault(angle, {})[name] = {
                "recall": detected / len(composed), "false_boxes": false_positives,
                "correct": correct / len(composed),
            }  # fmt: skip
        print(angle, rows[angle], flush=True)
    return rows


def as_video(analyzer: mien.Analyzer, frames: list[mien.Frame]) -> list[mien.Result]:
    """Analyze frames as a video, without searching rotated copies of them."""
    session = analyzer.session()
    return [session.update(frame.pixels, frame.seconds) for frame in frames]


ANALYZE = {"mien": mien.Analyzer.analyze_frames, "yunet_alone": as_video}


class UprightOnly:
    """YuNet detector that assumes upright heads."""

    name, geometry = "yunet", yunet.YuNet.geometry

    def __init__(self) -> None:
        self._detect = yunet.load()

    def __call__(self, pixels: np.ndarray) -> list[mien.Detection]:
        """Detect the faces of a (H, W, 3) uint8 image with roll 0."""
        return [replace(face, roll=0.0) for face in self._detect(pixels)]


def _is_at(box: tuple, center: np.ndarray, side: float) -> bool:
    distance = np.hypot(box[0] + box[2] / 2 - center[0], box[1] + box[3] / 2 - center[1])
    return distance < 0.35 * side and 0.4 < (box[2] * box[3]) ** 0.5 / side < 1.6


def false_positives() -> dict:
    """Count false positives on photographs without people, at three sizes and four angles."""
    analyzers = {"mien": mien.Analyzer(), "yunet_alone": mien.Analyzer(detector=UprightOnly())}
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
    boxes = {
        name: sum(map(len, ANALYZE[name](analyzer, map(mien.Frame, images))))
        for name, analyzer in analyzers.items()
    }
    return {"images": len(images), "false_boxes": boxes}


def by_yaw(val: data.Samples) -> dict:
    """Measure the accuracy on PublicTest in bins of the yaw estimated from landmarks."""
    detect = yunet.load()
    classify = mien.Analyzer("default-labels", "whole", threads=1)
    yaws, is_correct = [], []
    for face, label in zip(val.faces, val.labels, strict=True):
        large = cv2.resize(face, (192, 192), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, 48, 48, 48, 48, cv2.BORDER_REFLECT_101)
        detections = detect(large[..., None].repeat(3, -1))[:1]
        if not detections or not detections[0].landmarks:
            continue
        yaws.append(abs(estimate_yaw(detections[0].landmarks)))
        (analyzed,) = classify.analyze(face[..., None].repeat(3, -1))
        is_correct.append(analyzed.dominant_emotion == EMOTIONS[label])
    edges = (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 1.01)
    bins = np.digitize(yaws, edges) - 1
    return {
        f"{low:g} to {high:g}": {
            "faces": int((bins == k).sum()),
            "accuracy": float(np.array(is_correct)[bins == k].mean())
            if (bins == k).any()
            else None,
        }
        for k, (low, high) in enumerate(pairwise(edges))
    }


def measure(folder: Path, count: int) -> None:
    """Run all measurements, print them, and write `results/pose.json`."""
    val = data.load(folder)["val"]
    result = {"name": "pose", "data": "FER2013 PublicTest"}
    result["roll_error"] = angle_errors(val.faces)
    result["alignment"] = alignment(val)
    print(*result["alignment"].items(), sep="\n", flush=True)
    print(*result["roll_error"].items(), sep="\n", flush=True)
    result["yaw"] = by_yaw(val)
    print(*result["yaw"].items(), sep="\n", flush=True)
    result["empty"] = false_positives()
    print(result["empty"], flush=True)
    result["scenes"] = {"faces": count, "by_angle": scenes_by_angle(val, count)}
    runs.write_json(runs.PACKAGE.parent.parent / "results" / "pose.json",
                    result | {"environment": runs.environment()})  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "measure"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=96)
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(runs.PACKAGE) / "detection" / "roll.onnx"
    if options.action == "train":
        train(options.data, out)
    else:
        measure(options.data, options.faces)


if __name__ == "__main__":
    main()
