"""Scores of boxes with ids against the truth of a clip: CLEAR MOT, IDF1, overlap, flicker."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.synthetic.clips import Boxes, Truth
from tests.synthetic.scenes import overlap


def without_hidden(
    truths: Sequence[Truth], found: Sequence[Boxes], visible: float = 0.5
) -> tuple[list[Boxes], list[Boxes]]:
    """The true and the found boxes of every frame, without faces that are less than so visible.

    What was found where such a face is goes as well: to find it is no duty, and no mistake.
    """
    asked, answered = [], []
    for truth, boxes in zip(truths, found, strict=True):
        hidden = {face.identity for face in truth.faces if face.visible < visible}
        pairs = match_boxes(truth.boxes, boxes)
        excused = {pairs[who] for who in hidden & pairs.keys()}
        asked.append({who: box for who, box in truth.boxes.items() if who not in hidden})
        answered.append({who: box for who, box in boxes.items() if who not in excused})
    return asked, answered


LEAST = 0.3
"""Overlap from which a box is a face's: low, as each detector frames faces in its own way."""


def match_boxes(
    truth: Boxes, found: Boxes, least: float = LEAST, before: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Who was found as whom in one frame: the pairs that overlap most together, each by `least`.

    before: who was last found as whom; they stay together as long as they overlap enough.
    """
    names, others = list(truth), list(found)
    overlaps = _overlaps(truth, found)
    stays = np.array([[(before or {}).get(a) == b for b in others] for a in names], bool)
    gain = np.where(overlaps < least, 0, overlaps + 2 * stays.reshape(overlaps.shape))
    return {names[row]: others[column] for row, column in assign(gain)}


def _overlaps(truth: Boxes, found: Boxes) -> np.ndarray:
    """Intersection over union: (T, F)."""
    squares = np.array(list(found.values()), float).reshape(-1, 4)
    rows = [overlap(np.array(box, float), squares) for box in truth.values()]
    return np.array(rows).reshape(len(truth), len(found))


def assign(gain: np.ndarray) -> list[tuple[int, int]]:
    """The pairs (row, column), each once, that gain most together; none that gains nothing."""
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]


def id_switches(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> int:
    """How often somebody is found under another identity than last time (CLEAR MOT's IDSW).

    https://doi.org/10.1155/2008/246309
    """
    known: dict[int, int] = {}
    switches = 0
    for true, boxes in zip(truth, found, strict=True):
        pairs = match_boxes(true, boxes, least, known)
        switches += sum(known.get(who, name) != name for who, name in pairs.items())
        known |= pairs
    return switches


def id_f1(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> float:
    """IDF1: how many boxes are right if everybody has one identity for the whole clip, 0 to 1.

    https://arxiv.org/abs/1609.01775. 1 for a clip without faces in which none is found.
    """
    names, others = ({who: k for k, who in enumerate(sorted(set().union(*boxes)))}
                     for boxes in (truth, found))  # fmt: skip
    together = np.zeros((len(names), len(others)))
    for true, boxes in zip(truth, found, strict=True):
        for row, column in zip(*np.nonzero(_overlaps(true, boxes) >= least), strict=True):
            together[names[list(true)[row]], others[list(boxes)[column]]] += 1
    right = sum(together[pair] for pair in assign(together))
    count = sum(map(len, truth)) + sum(map(len, found))
    return float(2 * right / count) if count else 1.0


def box_overlap(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> float:
    """Mean intersection over union of the boxes matched, once the detector's way is allowed for.

    Its way is one shift and one scale in units of its box, the median over the clip. What is left
    is how much the boxes shake. NaN if nothing was matched.
    """
    pairs = [
        (true[who], boxes[name])
        for true, boxes in zip(truth, found, strict=True)
        for who, name in match_boxes(true, boxes, least).items()
    ]
    if not pairs:
        return float("nan")
    true, boxes = np.array(pairs, float).swapaxes(0, 1)
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    shift = np.median((true[:, :2] + true[:, 2:] / 2 - middle) / boxes[:, 2:], axis=0)
    sides = np.median(true[:, 2:] / boxes[:, 2:], axis=0) * boxes[:, 2:]
    fitted = np.hstack([middle + shift * boxes[:, 2:] - sides / 2, sides])
    return float(np.mean([overlap(a, b[None])[0] for a, b in zip(fitted, true, strict=True)]))


def time_error(truths: Sequence[Truth], seconds: Sequence[float]) -> float:
    """The largest difference between a frame's time and the truth, in seconds."""
    return max(abs(t.seconds - s) for t, s in zip(truths, seconds, strict=True))


def changes_per_second(labels: Sequence[str], seconds: Sequence[float]) -> float:
    """How often a label changes from frame to frame, by time: where nothing moves, flicker."""
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    return changes / (seconds[-1] - seconds[0])
