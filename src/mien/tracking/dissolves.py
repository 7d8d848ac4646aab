"""Dissolves: frames that are for a while a mixture of an earlier and a later scene."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from mien.tracking.thumbnails import MIN_BLOCK_STD, Thumbnail, histograms_match, similarity

T = TypeVar("T", bound=tuple[float, Any])

SAMPLE_SECONDS = 0.115
"""Minimum seconds between two samples; a little less than three frames at 25 per second."""

WINDOWS = (4, 8, 16)
"""Lengths of the examined windows in samples: about 0.5, 1 and 2 seconds at usual frame rates."""

MAX_WINDOW_SECONDS, MAX_SAMPLE_SECONDS = 2.2, 0.21
"""Longer windows, and windows in which samples are farther apart on average, are not examined: in
a video with few frames per second, motion can resemble a dissolve."""

MIN_WEIGHT, MAX_WEIGHT = 0.2, 0.9
"""Range of both weights, of the first and of the last frame, in the middle of the window."""

MIN_WEIGHT_CHANGE = 0.1
"""Minimum change of both weights in the second and in the third quarter of the window."""

MAX_END_SIMILARITY = 0.3
"""Maximum similarity of the first and the last frame of a window."""

MAX_BLOCK_CORRELATION = 0.5
"""A block differs between two frames if it correlates by less than this. Weights and fit are
computed from the blocks that differ between the first and the last frame: a person who stands in
front of a moving background is in all frames, and fits any mixture."""

MIN_FIT = 0.35
"""Minimum fraction of the variance of a block that the mixture explains, in the median of the
textured blocks that differ."""

MIN_STEP_SIMILARITY = 0.7
"""Minimum similarity of successive frames among the five at the quarter points of a window: an
abrupt change is not a dissolve."""

MIN_SAME_SCENE_CORRELATION = 0.7
"""Two frames whose blocks correlate by more than this, all together, are of the same scene."""

MIN_CONTRAST = 4.0
"""Minimum contrast of the frames: codecs update faint textures over many frames, which resembles a
dissolve."""


class DissolveDetector:
    """Decides whether the last two seconds of a video contain most of a dissolve.

    In a dissolve, the first and the last frame of a window show different scenes, and the frames
    between are mixtures of these two with weights that fall and rise. Frames of a moving camera
    between two places are no such mixtures.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Thumbnail]] = deque(maxlen=max(WINDOWS) + 1)

    def reset(self) -> None:
        """Forget all frames."""
        self._samples.clear()

    def update(self, frame: Thumbnail, seconds: float) -> bool:
        """Add the next frame; return whether a window that ends with it contains a dissolve.

        Frames less than `SAMPLE_SECONDS` after the last sample are ignored: the result is False.
        """
        if self._samples and seconds - self._samples[-1][0] < SAMPLE_SECONDS:
            return False
        self._samples.append((seconds, frame))
        return any(
            _is_dissolve([frame for _, frame in samples])
            for samples in quarter_points_of_windows(list(self._samples))
        )

    def state(self) -> list[tuple[float, str]]:
        """Return a JSON-serializable state for `restore`."""
        return [(seconds, frame.to_text()) for seconds, frame in self._samples]

    def restore(self, state: Any) -> None:
        """Restore a state that `state` returned."""
        self.reset()
        self._samples.extend((seconds, Thumbnail.from_text(text)) for seconds, text in state)


def quarter_points_of_windows(samples: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield five samples for each examined window that ends with the last sample.

    Args:
        samples: Samples in order of time; each begins with its time in seconds.

    Yields:
        The samples at the start, after each quarter, and at the end of the window.
    """
    for window in WINDOWS:
        if window >= len(samples):
            return
        duration = samples[-1][0] - samples[-1 - window][0]
        if duration <= min(MAX_WINDOW_SECONDS, window * MAX_SAMPLE_SECONDS):
            yield samples[-1 - window :: window // 4]


def _is_dissolve(frames: list[Thumbnail]) -> bool:
    """Return whether five frames, at the quarter points of a window, are of a dissolve."""
    first, *between, last = frames
    if _same_scene(first, last) or histograms_match(first, last):
        return False
    if any(frame.contrast < MIN_CONTRAST for frame in frames):
        return False
    differing = _block_correlations(first, last) < MAX_BLOCK_CORRELATION
    # The middle is tested first, because it excludes most windows.
    middle_weights, fit = _mixture(first, between[1], last, differing)
    if not (
        min(middle_weights) > MIN_WEIGHT and max(middle_weights) < MAX_WEIGHT and fit > MIN_FIT
    ):
        return False
    early_weights, _ = _mixture(first, between[0], last, differing)
    late_weights, _ = _mixture(first, between[2], last, differing)
    weights = np.array([early_weights, middle_weights, late_weights])
    changes_of_first, changes_of_last = np.diff(weights, axis=0).T
    return bool(
        max(changes_of_first) < -MIN_WEIGHT_CHANGE
        and min(changes_of_last) > MIN_WEIGHT_CHANGE
        and similarity(last, first) < MAX_END_SIMILARITY
        and all(similarity(b, a) > MIN_STEP_SIMILARITY for a, b in itertools.pairwise(frames))
    )


def _same_scene(a: Thumbnail, b: Thumbnail) -> bool:
    """Return whether two frames are obviously of the same scene; a fast test."""
    product = np.vdot(a.blocks, b.blocks)
    return bool(
        product
        > MIN_SAME_SCENE_CORRELATION
        * np.sqrt(np.vdot(a.blocks, a.blocks) * np.vdot(b.blocks, b.blocks))
    )


def _block_correlations(a: Thumbnail, b: Thumbnail) -> np.ndarray:
    """Return the correlation of each block of two frames: (40,)."""
    stds = np.maximum(a.block_stds, 1) * np.maximum(b.block_stds, 1)
    return (a.blocks * b.blocks).mean(1) / stds


def _mixture(
    first: Thumbnail, frame: Thumbnail, last: Thumbnail, selected: np.ndarray
) -> tuple[np.ndarray, float]:
    """Fit the selected blocks of a frame by a mixture of two other frames (least squares).

    Returns:
        The two weights, and the fraction of the variance of a textured block that the mixture
        explains, in the median; 0 if no selected block is textured.
    """
    ends = np.stack([first.blocks[selected].ravel(), last.blocks[selected].ravel()])
    blocks, stds = frame.blocks[selected], frame.block_stds[selected]
    # The identity matrix makes the equations solvable if the frames are equal.
    weights = np.linalg.solve(ends @ ends.T + np.eye(2), ends @ blocks.ravel())
    errors = ((blocks - (weights @ ends).reshape(blocks.shape)) ** 2).mean(1)
    textured = stds >= MIN_BLOCK_STD
    if not textured.any():
        return weights, 0.0
    return weights, float(np.median(1 - errors[textured] / stds[textured] ** 2))
