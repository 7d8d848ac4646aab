"""Bidirectional smoothing: a video is read twice, so that smoothed emotions do not lag behind."""

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
from mien.tracking.frame_interval import MAX_AGE_SECONDS
from mien.tracking.smoothing import TIME_CONSTANT


def smooth_results(
    results: Iterable[Result], frames: Iterable[Frame], time_constant: float = TIME_CONSTANT
) -> Iterator[Result]:
    """Replace the causally smoothed emotions of a video by bidirectionally smoothed ones.

    The results are stored in a temporary file; memory holds one number per face, frame and emotion.

    Args:
        results: The results of the first pass; read to the end before the first result is yielded.
        frames: The same frames, read a second time.
        time_constant: Time constant of the smoothing in seconds.

    Returns:
        The results with the second `frames`; only the smoothed emotions differ.

    Raises:
        UserError: If there are more or fewer frames than results.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as records:
        series: dict[int, list[tuple[float, list[float]]]] = defaultdict(list)
        for result in results:
            records.write(json.dumps(result.to_dict()) + "\n")
            for face in result:
                point = (result.frame.seconds, list(face.emotions.values()))
                series[face.face_id].append(point)
        smoothed = {}
        for face_id, points in series.items():
            seconds, shares = (np.array(column) for column in zip(*points, strict=True))
            smoothed[face_id] = iter(smooth_shares(seconds, shares, time_constant))
        series.clear()
        records.seek(0)
        for frame, record in _zip_frames(frames, records):
            result = Result.from_dict(json.loads(record), frame)
            faces = [_with_smoothed(face, next(smoothed[face.face_id])) for face in result]
            yield replace(result, faces=faces)


def _zip_frames(frames: Iterable[Frame], records: Iterable[str]) -> Iterator[tuple[Frame, str]]:
    for frame, record in zip_longest(frames, records):
        if frame is None or record is None:
            raise UserError(
                "The video changed between the two passes. "
                "Wait until it is completely written, and run the command again."
            )
        yield frame, record


def smooth_shares(
    seconds: np.ndarray,
    shares: np.ndarray,
    time_constant: float,
    max_age_seconds: float = MAX_AGE_SECONDS,
) -> np.ndarray:
    """Smooth shares exponentially forward and backward in time, and average both.

    Args:
        seconds: (T,) increasing times of the frames in seconds.
        shares: (T, K) shares.
        time_constant: Time constant in seconds; 0 disables smoothing.
        max_age_seconds: Smoothing starts anew after a gap of more than this many seconds and of
            more than the time constant, as in `Smoother`.

    Returns:
        (T, K) float64.
    """
    intervals = np.diff(seconds, prepend=seconds[:1])
    decay = np.exp(-intervals / time_constant) if time_constant > 0 else np.zeros_like(intervals)
    decay = np.where(intervals > max(max_age_seconds, time_constant), 0.0, decay)
    # Backward in time, the interval before a point is the one that follows it.
    backward_decay = np.concatenate([decay[1:], [0.0]])
    forward = _smooth_forward(shares, decay)
    backward = _smooth_forward(shares[::-1], backward_decay[::-1])[::-1]
    return (forward + backward) / 2


def _smooth_forward(shares: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """Smooth forward in time, so that each value depends only on earlier ones (causal filter).

    Args:
        shares: (T, K) shares.
        decay: (T,) weights of the previous smoothed values.

    Returns:
        (T, K) float64.
    """
    smoothed = np.array(shares, np.float64)
    for k in range(1, len(smoothed)):
        smoothed[k] += decay[k] * (smoothed[k - 1] - smoothed[k])
    return smoothed


def _with_smoothed(face: Face, shares: np.ndarray) -> Face:
    return replace(face, smoothed=dict(zip(face.emotions, shares.tolist(), strict=True)))
