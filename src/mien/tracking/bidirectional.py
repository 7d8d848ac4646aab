"""A file watched twice: once for its faces, and again when all of them are known.

The second time, emotions are smoothed by what comes as well as by what was, so they do not lag.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from mien.errors import UserError
from mien.results import Face, Frame, Result
from mien.tracking.smoothing import TIME_CONSTANT
from mien.tracking.tracker import MAX_AGE_SECONDS


def smooth(
    first: Iterable[Result], again: Iterable[Frame], time_constant: float = TIME_CONSTANT
) -> Iterator[Result]:
    """The frames of `again` with the faces of `first`, the same frames, smoothed both ways.

    What the first time gives is kept in a temporary file, and in memory a number per face, frame
    and emotion.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
        lines: dict[int, list[tuple[float, list[float]]]] = defaultdict(list)
        for result in first:
            kept.write(json.dumps(result.to_dict()) + "\n")
            for face in result:
                lines[face.face_id].append((result.frame.seconds, list(face.emotions.values())))
        smooth = {}
        for face_id, line in lines.items():
            seconds, shares = (np.array(column) for column in zip(*line, strict=True))
            smooth[face_id] = iter(smooth_bidirectional(seconds, shares, time_constant))
        lines.clear()
        kept.seek(0)
        for frame, text in _pairs(again, kept):
            result = Result.from_dict(json.loads(text), frame)
            yield replace(result, faces=[_smoothed(f, next(smooth[f.face_id])) for f in result])


def _pairs(again: Iterable[Frame], kept: Iterable[str]) -> Iterator[tuple[Frame, str]]:
    for frame, text in zip_longest(again, kept):
        if frame is None or text is None:
            raise UserError("The video changed while it was read; let it be finished first.")
        yield frame, text


def smooth_bidirectional(
    seconds: np.ndarray, shares: np.ndarray, constant: float, longest: float = MAX_AGE_SECONDS
) -> np.ndarray:
    """Exponential smoothing from both ends, averaged: (T,) rising, (T, K) -> (T, K).

    Over a gap of more than `longest` seconds nothing is carried.
    """
    steps = np.diff(seconds, prepend=seconds[:1])
    keep = np.exp(-steps / constant) if constant > 0 else np.zeros_like(steps)
    keep = np.where(steps > longest, 0.0, keep)
    # From the end, the step into a moment is the one that lies behind it.
    back = np.concatenate([keep[1:], [0.0]])
    forth, reverse = _followed(shares, keep), _followed(shares[::-1], back[::-1])
    return (forth + reverse[::-1]) / 2


def _followed(shares: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The causal filter: as much of the last as `keep` says, (T, K), (T,) -> (T, K)."""
    found = np.array(shares, np.float64)
    for k in range(1, len(found)):
        found[k] += keep[k] * (found[k - 1] - found[k])
    return found


def _smoothed(face: Face, shares: np.ndarray) -> Face:
    return replace(face, smoothed=dict(zip(face.emotions, shares.tolist(), strict=True)))
