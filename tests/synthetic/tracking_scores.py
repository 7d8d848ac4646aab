"""Tracking scores against the ground truth of a clip: id switches, IDF1, overlap, flicker."""

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
    """Remove hidden faces from the true and the predicted boxes of every frame.

    A face is hidden if a fraction of less than `min_visible` is visible. Predictions that match it
    are also removed, so that detecting it counts neither for nor against a tracker.

    Returns:
        The remaining true boxes, and the remaining predicted boxes, of each frame.
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
"""Minimum intersection over union of a match. It is low, because the boxes of detectors differ in
size and position from the ground truth."""


def match_boxes(
    truth: Boxes,
    predictions: Boxes,
    min_overlap: float = MIN_OVERLAP,
    previous: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Match true and predicted boxes of a frame: identity -> predicted id.

    The total overlap is maximal, but pairs that were matched before (`previous`) are preferred.
    Each pair overlaps by at least `min_overlap`.
    """
    identities, track_ids = list(truth), list(predictions)
    overlaps = _overlaps(truth, predictions)
    gain = np.where(overlaps < min_overlap, 0, overlaps)
    for row, identity in enumerate(identities):
        for column, track_id in enumerate(track_ids):
            was_matched = previous is not None and previous.get(identity) == track_id
            if was_matched and gain[row, column] > 0:
                # More than the overlaps, at most 1 each, of the two pairs that could replace it.
                gain[row, column] += 2
    return {identities[row]: track_ids[column] for row, column in assign(gain)}


def _overlaps(truth: Boxes, predictions: Boxes) -> np.ndarray:
    """Intersection over union of N true and M predicted boxes: (N, M)."""
    predicted_boxes = np.array(list(predictions.values()), float).reshape(-1, 4)
    rows = [overlap(np.array(box, float), predicted_boxes) for box in truth.values()]
    return np.array(rows).reshape(len(truth), len(predictions))


def assign(gain: np.ndarray) -> list[tuple[int, int]]:
    """Return the one-to-one pairs (row, column) with the largest total gain; none has gain 0."""
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]


def id_switches(
    truth: Sequence[Boxes], predictions: Sequence[Boxes], min_overlap: float = MIN_OVERLAP
) -> int:
    """Count the changes of the predicted ids of faces (IDSW of CLEAR MOT).

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
    """Compute IDF1, 0 to 1: the F1 score of boxes if each face has one id in the whole clip.

    https://arxiv.org/abs/1609.01775. It is 1 for a clip without faces and without predictions.
    """
    rows, columns = _index_by_id(truth), _index_by_id(predictions)
    overlap_counts = np.zeros((len(rows), len(columns)))
    for true, boxes in zip(truth, predictions, strict=True):
        for a, b in zip(*np.nonzero(_overlaps(true, boxes) >= min_overlap), strict=True):
            overlap_counts[rows[list(true)[a]], columns[list(boxes)[b]]] += 1
    true_positives = sum(overlap_counts[pair] for pair in assign(overlap_counts))
    count = sum(map(len, truth)) + sum(map(len, predictions))
    return float(2 * true_positives / count) if count else 1.0


def _index_by_id(frames: Sequence[Boxes]) -> dict[int, int]:
    """Return the index of each id among the sorted ids of a clip."""
    return {face_id: k for k, face_id in enumerate(sorted(set().union(*frames)))}


def box_overlap(
    truth: Sequence[Boxes], predictions: Sequence[Boxes], min_overlap: float = MIN_OVERLAP
) -> float:
    """Compute the mean intersection over union of matched boxes without the detector's bias.

    The bias is the median shift and scale of the boxes of a clip, relative to their size. Without
    it, the score measures jitter. It is NaN if no box was matched.
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
    """Return the largest absolute error of the timestamps of frames, in seconds."""
    return max(abs(truth.seconds - time) for truth, time in zip(truths, seconds, strict=True))


def changes_per_second(labels: Sequence[str], seconds: Sequence[float]) -> float:
    """Compute the changes per second of the labels of at least two frames, with their timestamps.

    If the true label does not change, this is flicker.
    """
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    return changes / (seconds[-1] - seconds[0])
