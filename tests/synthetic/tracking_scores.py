"""Tracking scores against the ground truth of a clip: CLEAR MOT, IDF1, overlap, flicker."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.synthetic.clips import Boxes, Truth
from tests.synthetic.scenes import overlap


def without_hidden(
    truths: Sequence[Truth], predictions: Sequence[Boxes], min_visible: float = 0.5
) -> tuple[list[Boxes], list[Boxes]]:
    """The true and predicted boxes of every frame, without faces that are hidden.

    Faces of which less than `min_visible` is visible are hidden. Predictions that match them are
    removed, too, so that detecting them counts neither for nor against a tracker.
    """
    expected, predicted = [], []
    for truth, boxes in zip(truths, predictions, strict=True):
        hidden = {face.identity for face in truth.faces if face.visible < min_visible}
        pairs = match_boxes(truth.boxes, boxes)
        ignored = {pairs[identity] for identity in hidden & pairs.keys()}
        expected.append(
            {identity: box for identity, box in truth.boxes.items() if identity not in hidden}
        )
        predicted.append(
            {identity: box for identity, box in boxes.items() if identity not in ignored}
        )
    return expected, predicted


MIN_OVERLAP = 0.3
"""Minimum overlap of a match; low, because the boxes of detectors differ in size and position."""


def match_boxes(
    truth: Boxes,
    predictions: Boxes,
    min_overlap: float = MIN_OVERLAP,
    previous: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Identity -> predicted id in one frame: the pairs with the largest total overlap.

    Matches of the previous frame (`previous`) are kept while they overlap by `min_overlap`.
    """
    identities, track_ids = list(truth), list(predictions)
    overlaps = _overlaps(truth, predictions)
    is_same = np.array(
        [
            [(previous or {}).get(identity) == track_id for track_id in track_ids]
            for identity in identities
        ],
        bool,
    )
    gain = np.where(overlaps < min_overlap, 0, overlaps + 2 * is_same.reshape(overlaps.shape))
    return {identities[row]: track_ids[column] for row, column in assign(gain)}


def _overlaps(truth: Boxes, predictions: Boxes) -> np.ndarray:
    """Intersection over union: (T, F)."""
    squares = np.array(list(predictions.values()), float).reshape(-1, 4)
    rows = [overlap(np.array(box, float), squares) for box in truth.values()]
    return np.array(rows).reshape(len(truth), len(predictions))


def assign(gain: np.ndarray) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) with the largest total gain, without pairs of gain 0."""
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]


def id_switches(
    truth: Sequence[Boxes], predictions: Sequence[Boxes], min_overlap: float = MIN_OVERLAP
) -> int:
    """Number of times that the predicted id of a face changes (IDSW of CLEAR MOT).

    https://doi.org/10.1155/2008/246309
    """
    previous: dict[int, int] = {}
    switches = 0
    for true, boxes in zip(truth, predictions, strict=True):
        pairs = match_boxes(true, boxes, min_overlap, previous)
        switches += sum(
            previous.get(identity, track_id) != track_id for identity, track_id in pairs.items()
        )
        previous |= pairs
    return switches


def id_f1(
    truth: Sequence[Boxes], predictions: Sequence[Boxes], min_overlap: float = MIN_OVERLAP
) -> float:
    """IDF1, 0 to 1: F1 score of boxes if each face is assigned one id for the whole clip.

    https://arxiv.org/abs/1609.01775. It is 1 for a clip without faces and without predictions.
    """
    rows, columns = ({face_id: k for k, face_id in enumerate(sorted(set().union(*boxes)))}
                     for boxes in (truth, predictions))  # fmt: skip
    overlap_counts = np.zeros((len(rows), len(columns)))
    for true, boxes in zip(truth, predictions, strict=True):
        for a, b in zip(*np.nonzero(_overlaps(true, boxes) >= min_overlap), strict=True):
            overlap_counts[rows[list(true)[a]], columns[list(boxes)[b]]] += 1
    true_positives = sum(overlap_counts[pair] for pair in assign(overlap_counts))
    count = sum(map(len, truth)) + sum(map(len, predictions))
    return float(2 * true_positives / count) if count else 1.0


def box_overlap(
    truth: Sequence[Boxes], predictions: Sequence[Boxes], min_overlap: float = MIN_OVERLAP
) -> float:
    """Mean intersection over union of matched boxes after removing the detector's constant bias.

    The bias is the median shift and scale over the clip, relative to the size of the boxes. What
    remains is jitter. NaN if nothing was matched.
    """
    pairs = [
        (true[identity], boxes[track_id])
        for true, boxes in zip(truth, predictions, strict=True)
        for identity, track_id in match_boxes(true, boxes, min_overlap).items()
    ]
    if not pairs:
        return float("nan")
    true, boxes = np.array(pairs, float).swapaxes(0, 1)
    centers = boxes[:, :2] + boxes[:, 2:] / 2
    shift = np.median((true[:, :2] + true[:, 2:] / 2 - centers) / boxes[:, 2:], axis=0)
    sides = np.median(true[:, 2:] / boxes[:, 2:], axis=0) * boxes[:, 2:]
    fitted = np.hstack([centers + shift * boxes[:, 2:] - sides / 2, sides])
    return float(np.mean([overlap(a, b[None])[0] for a, b in zip(fitted, true, strict=True)]))


def time_error(truths: Sequence[Truth], seconds: Sequence[float]) -> float:
    """The largest difference between a frame's time and the truth, in seconds."""
    return max(abs(truth.seconds - time) for truth, time in zip(truths, seconds, strict=True))


def changes_per_second(labels: Sequence[str], seconds: Sequence[float]) -> float:
    """Label changes between frames per second; in a still scene, this is flicker."""
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    return changes / (seconds[-1] - seconds[0])
