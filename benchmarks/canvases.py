"""How well Faster R-CNN finds several faces in a picture and names their emotions. Writes results/.

python benchmarks/canvases.py --data fer2013/ --steps 3000 [--start runs/rcnn-slim]

A crop of FER2013 is a face from rim to rim: there is nothing to find in it, and to answer "the box
is the picture" is always right. So faces of Training are set into photographs of nobody, one to
four in each, to learn from; then those of PublicTest, into other photographs, to judge by. Bare
crops are judged too.
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

from mien.lab import batches, data, evaluate, models, runs
from mien.lab.data import Samples
from mien.lab.heads import CLASSES
from mien.lab.models import rcnn
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

BATCH, RATE = 8, 0.01

OVERLAP = 0.5
"""Intersection over union from which on a face is found."""

SURE = 0.5
"""How sure of a face one must be to count as having found it, where no curve is drawn."""


@dataclass(frozen=True)
class Found:
    """boxes: (K, 4) x, y, width, height. shares: (K, 7), by emotion; their sum is 1 for a face."""

    boxes: np.ndarray
    shares: np.ndarray


# The scores.


def matched(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which of the (F, 4) true boxes each of (K, 4) finds, -1 for none; the surest has first pick.

    A true box is found once, by an overlap of at least `OVERLAP`.
    """
    who, free = np.full(len(boxes), -1), np.ones(len(truth), bool)
    for k in np.argsort(-scores, kind="stable"):
        overlaps = np.where(free, scenes.overlap(boxes[k], truth), 0.0)
        if overlaps.max(initial=0.0) >= OVERLAP:
            who[k] = overlaps.argmax()
            free[who[k]] = False
    return who


def average_precision(
    truths: list[np.ndarray], boxes: list[np.ndarray], scores: list[np.ndarray]
) -> float:
    """The area below precision over recall, as in Pascal VOC since 2010; a list item per picture.

    Precision is taken as the highest at that recall or a higher one. A score of 0 is no answer.
    """
    hits = [matched(*one) >= 0 for one in zip(boxes, scores, truths, strict=True)]
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    hit = np.concatenate(hits)[order[: np.count_nonzero(every)]]
    precision = hit.cumsum() / np.arange(1, len(hit) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hit].sum() / sum(map(len, truths)))


def named(canvas: Canvas, found: Found) -> tuple[np.ndarray, int]:
    """Of each face found for sure, whether its emotion is named right; how many boxes are sure."""
    sure = found.shares.sum(1) >= SURE
    boxes, shares = found.boxes[sure], found.shares[sure]
    who = matched(boxes, shares.sum(1), canvas.boxes)
    return canvas.labels[who[who >= 0]] == shares[who >= 0].argmax(1), len(boxes)


def judged(canvases: Sequence[Canvas], found: Sequence[Found]) -> dict[str, float]:
    """The numbers of a set of pictures.

    face_ap: average precision of "a face". emotion_map: its mean over emotions, where a box must
    find a face of that emotion. recall, precision: of boxes that are `SURE` of a face. accuracy:
    of the emotion that these name, on faces found.
    """
    boxes = [one.boxes for one in found]
    by_emotion = [
        average_precision(truths, boxes, [one.shares[:, label] for one in found])
        for label in range(7)
        if any(map(len, truths := [c.boxes[c.labels == label] for c in canvases]))
    ]
    rights, counts = zip(*map(named, canvases, found), strict=True)
    right, total = np.concatenate(rights), sum(len(c.labels) for c in canvases)
    sure = [one.shares.sum(1) for one in found]
    return {
        "pictures": len(canvases),
        "faces": total,
        "face_ap": average_precision([c.boxes for c in canvases], boxes, sure),
        "emotion_map": float(np.mean(by_emotion)),
        "recall": len(right) / total,
        "precision": len(right) / max(1, sum(counts)),
        "accuracy": float(right.mean()) if len(right) else 0.0,
    }


# The detector.


def pictures(canvases: Iterable[Canvas]) -> list[Tensor]:
    """What a detector takes: (1, H, W) standardised floats."""
    return [batches.standardise(torch.as_tensor(c.pixels.copy()))[None] for c in canvases]


def targets(canvases: Iterable[Canvas]) -> list[dict[str, Tensor]]:
    """What a detector learns from: corners, and labels that count from 1, as 0 is background."""
    return [
        {
            "boxes": ops.box_convert(torch.as_tensor(c.boxes).float(), "xywh", "xyxy"),
            "labels": torch.as_tensor(c.labels) + 1,
        }
        for c in canvases
    ]


def merged(answer: dict[str, Tensor]) -> Found:
    """One box for each face, from the boxes that a detector gives for each face and emotion.

    The surest of boxes that overlap stays; from the others it takes the shares of emotions.
    """
    boxes, labels, scores = answer["boxes"], answer["labels"] - 1, answer["scores"]
    kept = ops.nms(boxes, scores, OVERLAP)
    same = ops.box_iou(boxes[kept], boxes) >= OVERLAP
    by_label = same[:, None] & (labels == torch.arange(7)[:, None])
    shares = torch.zeros(len(kept), 7)
    for k, each in enumerate(by_label):
        for label in range(7):
            shares[k, label] = scores[each[label]].max() if each[label].any() else 0.0
    shares /= shares.sum(1, keepdim=True).clamp(min=1.0)
    return Found(ops.box_convert(boxes[kept], "xyxy", "xywh").numpy(), shares.numpy())


@torch.no_grad()
def find(detector: nn.Module, canvases: Sequence[Canvas]) -> list[Found]:
    """What the detector finds in each picture."""
    detector.eval()
    parts = (canvases[k : k + BATCH] for k in range(0, len(canvases), BATCH))
    return [merged(answer) for part in parts for answer in detector(pictures(part))]


def learn(
    detector: nn.Module,
    faces: Samples,
    photos: list[np.ndarray],
    steps: int,
    dice: np.random.Generator,
) -> None:
    """Train for so many steps, on new pictures in each: a short rise of the rate, then a cosine."""
    optimizer = torch.optim.SGD(
        detector.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    detector.train()
    for step in range(steps):
        rise = min(1.0, (step + 1) / min(100, steps))
        optimizer.param_groups[0]["lr"] = RATE * rise * (1 + math.cos(math.pi * step / steps)) / 2
        canvases = [compose(faces, photos, dice) for _ in range(BATCH)]
        losses = detector(pictures(canvases), targets(canvases))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            said = {
                name.removeprefix("loss_"): round(loss.item(), 3) for name, loss in losses.items()
            }
            print(f"step {step + 1}/{steps}", said, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--start", type=Path, help="a run folder of rcnn-slim to begin with")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    splits, dice = data.load(asked.data), np.random.default_rng(asked.seed)
    torch.manual_seed(asked.seed)
    model = models.build("rcnn-slim", channels=1, classes=CLASSES)
    if asked.start:
        evaluate.load_weights(model, runs.open_run(asked.start))
    detector = rcnn.detector(model, SIDE)
    began = time.perf_counter()
    learn(detector, splits["train"], gray_backgrounds(TRAINING_PHOTOS), asked.steps, dice)
    seconds = (time.perf_counter() - began) / max(1, asked.steps)
    val = splits["val"]
    canvases = [
        compose(val, gray_backgrounds(EVALUATION_PHOTOS), dice) for _ in range(asked.pictures)
    ]
    crops = [crop(f, y) for f, y in zip(val.faces, val.labels, strict=True)]
    rows = {
        "canvases": judged(canvases, find(detector, canvases)),
        "crops": judged(crops, find(detector, crops)),
    }
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items()})
    found = {
        "rows": rows,
        "model": "rcnn-slim",
        "start": asked.start.name if asked.start else None,
        "steps": asked.steps,
        "seconds_per_step": round(seconds, 3),
        "batch": BATCH,
        "rate": RATE,
        "side": SIDE,
        "seed": asked.seed,
        "measured": runs.about(),
    }
    runs.write_json(ROOT / "results" / "canvases.json", found)


if __name__ == "__main__":
    main()
