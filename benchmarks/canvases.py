"""Train and evaluate Faster R-CNN on images with several faces. Writes results/canvases.json.

    python benchmarks/canvases.py --data fer2013/ --steps 3000 [--init-from runs/rcnn-slim]

In a FER2013 crop the whole image is the face, so detection cannot be measured. One to four training
faces are therefore composed into photographs without people for training, and PublicTest faces into
other photographs for evaluation. The original crops are evaluated, too.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import ops

from mien.lab import batches, data, inference, models, runs
from mien.lab.data import Samples
from mien.lab.heads import LOGIT_COUNT
from mien.lab.models import rcnn
from mien.labels import EMOTIONS
from tests.synthetic import scenes
from tests.synthetic.canvases import (
    EVALUATION_PHOTOS,
    SIDE,
    TRAINING_PHOTOS,
    Canvas,
    compose,
    crop,
    gray_backgrounds,
)

ROOT = Path(__file__).parent.parent

BATCH, LR = 8, 0.01

MIN_IOU = 0.5
"""Minimum intersection over union (IoU) of a predicted box and the true box that it matches, and of
predicted boxes of the same face."""

MIN_CONFIDENCE = 0.5
"""Minimum confidence of predictions for recall, precision and accuracy."""


@dataclass(frozen=True)
class Prediction:
    """The detected faces of an image.

    Attributes:
        boxes: (K, 4), x, y, width and height.
        scores: (K, 7), one per emotion; their sum is the confidence.
    """

    boxes: np.ndarray
    scores: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        """(K,) confidence that each box contains a face, 0 to 1."""
        return self.scores.sum(1)


# Metrics


def match(boxes: np.ndarray, confidence: np.ndarray, true_boxes: np.ndarray) -> np.ndarray:
    """Match predicted boxes with true boxes.

    Each true box is matched at most once, by the most confident box with an IoU of at least
    `MIN_IOU`.

    Returns:
        (K,) index of the true box that each predicted box matches; -1 if it matches none.
    """
    matches, is_unmatched = np.full(len(boxes), -1), np.ones(len(true_boxes), bool)
    for k in np.argsort(-confidence, kind="stable"):
        overlaps = np.where(is_unmatched, scenes.overlap(boxes[k], true_boxes), 0.0)
        if overlaps.max(initial=0.0) >= MIN_IOU:
            matches[k] = overlaps.argmax()
            is_unmatched[matches[k]] = False
    return matches


def average_precision(
    true_boxes: list[np.ndarray], boxes: list[np.ndarray], confidences: list[np.ndarray]
) -> float:
    """Compute the area under the precision-recall curve, as in Pascal VOC since 2010.

    Precision is interpolated: the highest precision at the same or a higher recall is used. Boxes
    with confidence 0 are ignored. Each list has one item per image.
    """
    pairs = zip(boxes, confidences, true_boxes, strict=True)
    is_match = np.concatenate([match(*pair) >= 0 for pair in pairs])
    confidence = np.concatenate(confidences)
    order = np.argsort(-confidence, kind="stable")
    is_true_positive = is_match[order[: np.count_nonzero(confidence)]]
    precision = is_true_positive.cumsum() / np.arange(1, len(is_true_positive) + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    return float(interpolated[is_true_positive].sum() / sum(map(len, true_boxes)))


def classify_matches(canvas: Canvas, prediction: Prediction) -> tuple[np.ndarray, int]:
    """Compare the confident boxes of an image with its faces.

    Returns:
        Whether the label of each box that matches a face is correct, and the number of all
        confident boxes.
    """
    is_confident = prediction.confidence >= MIN_CONFIDENCE
    boxes, scores = prediction.boxes[is_confident], prediction.scores[is_confident]
    matches = match(boxes, scores.sum(1), canvas.boxes)
    labels = canvas.labels[matches[matches >= 0]]
    return labels == scores[matches >= 0].argmax(1), len(boxes)


def evaluate_predictions(
    canvases: Sequence[Canvas], predictions: Sequence[Prediction]
) -> dict[str, float]:
    """Compute the metrics of predictions for a set of images.

    `face_ap` is the average precision of faces, and `emotion_map` the mean average precision over
    emotions. `recall` and `precision` are those of boxes with a confidence of at least
    `MIN_CONFIDENCE`. `accuracy` is that of the emotions of the faces that these boxes match.
    """
    boxes = [prediction.boxes for prediction in predictions]
    precision_by_emotion = []
    for label in range(len(EMOTIONS)):
        true_boxes = [canvas.boxes[canvas.labels == label] for canvas in canvases]
        if sum(map(len, true_boxes)):
            scores = [prediction.scores[:, label] for prediction in predictions]
            precision_by_emotion.append(average_precision(true_boxes, boxes, scores))
    correct_by_image, box_count = [], 0
    for canvas, prediction in zip(canvases, predictions, strict=True):
        is_correct, count = classify_matches(canvas, prediction)
        correct_by_image.append(is_correct)
        box_count += count
    is_correct = np.concatenate(correct_by_image)
    face_count = sum(len(canvas.labels) for canvas in canvases)
    confidences = [prediction.confidence for prediction in predictions]
    return {
        "images": len(canvases),
        "faces": face_count,
        "face_ap": average_precision([c.boxes for c in canvases], boxes, confidences),
        "emotion_map": float(np.mean(precision_by_emotion)),
        "recall": len(is_correct) / face_count,
        "precision": len(is_correct) / max(1, box_count),
        "accuracy": float(is_correct.mean()) if len(is_correct) else 0.0,
    }


# Detector


def to_inputs(canvases: Iterable[Canvas]) -> list[Tensor]:
    """Convert images to inputs of a torchvision detector: (1, H, W) standardized floats."""
    return [batches.standardize(torch.as_tensor(c.pixels.copy()))[None] for c in canvases]


def to_targets(canvases: Iterable[Canvas]) -> list[dict[str, Tensor]]:
    """Convert images to targets of a torchvision detector, whose label 0 is the background."""
    return [
        {
            "boxes": ops.box_convert(torch.as_tensor(c.boxes).float(), "xywh", "xyxy"),
            "labels": torch.as_tensor(c.labels) + 1,
        }
        for c in canvases
    ]


def merge_boxes(output: dict[str, Tensor]) -> Prediction:
    """Merge the boxes of a torchvision detector, one per face and emotion, to one per face.

    The most confident of overlapping boxes is kept, with the highest score of each emotion among
    them. Scores whose sum exceeds 1 are normalized.
    """
    boxes, labels, scores = output["boxes"], output["labels"] - 1, output["scores"]
    kept = ops.nms(boxes, scores, MIN_IOU)
    is_same_face = ops.box_iou(boxes[kept], boxes) >= MIN_IOU
    merged = torch.zeros(len(kept), len(EMOTIONS))
    for k, is_same in enumerate(is_same_face):
        for label in range(len(EMOTIONS)):
            scores_of_label = scores[is_same & (labels == label)]
            merged[k, label] = scores_of_label.max() if len(scores_of_label) else 0.0
    merged /= merged.sum(1, keepdim=True).clamp(min=1.0)
    return Prediction(ops.box_convert(boxes[kept], "xyxy", "xywh").numpy(), merged.numpy())


@torch.no_grad()
def predict(detector: nn.Module, canvases: Sequence[Canvas]) -> list[Prediction]:
    """Detect and classify the faces of each image."""
    detector.eval()
    chunks = (canvases[k : k + BATCH] for k in range(0, len(canvases), BATCH))
    return [merge_boxes(output) for chunk in chunks for output in detector(to_inputs(chunk))]


def train(
    detector: nn.Module,
    faces: Samples,
    photos: list[np.ndarray],
    steps: int,
    rng: np.random.Generator,
) -> None:
    """Train on new images in each step; the learning rate has linear warm-up and cosine decay.

    Args:
        detector: A torchvision detector.
        faces: The faces that are pasted.
        photos: (H, W) uint8 backgrounds.
        steps: Number of steps of `BATCH` images.
        rng: Random generator of the images.
    """
    optimizer = torch.optim.SGD(
        detector.parameters(), LR, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    detector.train()
    for step in range(steps):
        warmup = min(1.0, (step + 1) / min(100, steps))
        optimizer.param_groups[0]["lr"] = LR * warmup * (1 + math.cos(math.pi * step / steps)) / 2
        canvases = [compose(faces, photos, rng) for _ in range(BATCH)]
        losses = detector(to_inputs(canvases), to_targets(canvases))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            values = [f"{name} {loss.item():.3f}" for name, loss in losses.items()]
            print(f"step {step + 1}/{steps}", *values, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000, help="number of training steps")
    parser.add_argument(
        "--init-from", type=Path, help="run folder of rcnn-slim with the initial weights"
    )
    parser.add_argument("--images", type=int, default=500, help="number of evaluation images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    splits, rng = data.load(options.data), np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    model = models.build("rcnn-slim", channels=1, classes=LOGIT_COUNT)
    if options.init_from:
        inference.load_weights(model, runs.open_run(options.init_from))
    detector = rcnn.detector(model, SIDE)
    start = time.perf_counter()
    train(detector, splits["train"], gray_backgrounds(TRAINING_PHOTOS), options.steps, rng)
    seconds = (time.perf_counter() - start) / max(1, options.steps)
    val, photos = splits["val"], gray_backgrounds(EVALUATION_PHOTOS)
    canvases = [compose(val, photos, rng) for _ in range(options.images)]
    crops = [crop(face, label) for face, label in zip(val.faces, val.labels, strict=True)]
    rows = {
        "canvases": evaluate_predictions(canvases, predict(detector, canvases)),
        "crops": evaluate_predictions(crops, predict(detector, crops)),
    }
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items()})
    result = {
        "rows": rows,
        "model": "rcnn-slim",
        "init_from": options.init_from.name if options.init_from else None,
        "steps": options.steps,
        "seconds_per_step": round(seconds, 3),
        "batch": BATCH,
        "lr": LR,
        "side": SIDE,
        "seed": options.seed,
        "environment": runs.environment(),
    }
    runs.write_json(ROOT / "results" / "canvases.json", result)


if __name__ == "__main__":
    main()
