"""Shot boundaries: frames that show something else than the previous frame, not merely motion.

Frames are compared as small gray thumbnails (`thumbnails.similarity`), which stay similar during
pans, zooms, rotations, people who pass and dropped frames. Dissolves are found by `dissolves`.
Only the current and earlier frames are used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mien.tracking.dissolves import DissolveDetector
from mien.tracking.thumbnails import (
    FAST_MOTION,
    MIN_SIMILARITY,
    Thumbnail,
    histograms_match,
    layout_correlation,
    pan_correlation,
    similarity,
    thumbnail,
)

MIN_SIMILARITY_IN_FAST_MOTION = 0.18
"""Replaces `MIN_SIMILARITY` if the similarity of the previous two frames was below `FAST_MOTION`,
as in a crash zoom."""

MAX_PAN_CORRELATION = 0.8
"""A frame continues its shot if it correlates with the previous frame, shifted as in a pan, by at
least this. In a whip pan, single blocks are too blurred to be matched, but whole frames are not."""

STILL, MAX_STILL_SECONDS = 1.2, 0.15
"""A frame that follows within `MAX_STILL_SECONDS` after two frames with a similarity above `STILL`
is not part of a pan: a pan begins slowly, so that its first frames are similar."""

MIN_SHOT_SECONDS = 0.15
"""A boundary is at least this many seconds after the previous one, unless time jumps back: a fast
roll of the camera would otherwise begin a shot with each of its frames."""

MIN_SIMILARITY_TO_EARLIER = 0.32
"""A frame also continues its shot if it is this similar to the frame two before it: blocks of
repeated patterns, such as text, are sometimes found at a wrong position."""

MIN_FLAT_LAYOUT = 0.4
"""If a frame or the previous one has hardly any texture, the shot continues if their layouts
correlate by at least this."""

MIN_LAYOUT_AFTER_BLANK = 0.7
"""After blank frames, a frame also continues the shot before them if the layouts correlate by at
least this: people and camera have moved meanwhile, so that few blocks are explained."""

FLASH_INCREASE = 0.3
"""A frame is a flash if its fraction of overexposed pixels is larger than that of the previous
frame by more than this."""

FADED_CONTRAST, CONTRAST_HALF_LIFE = 0.5, 2.5
"""A frame is faded or blurred if its contrast is below this fraction of the highest contrast of the
shot, which halves in this many seconds."""

FAINT_STD, RISING_STD = 6.0, 1.1
"""After blank frames, a frame is not yet compared if the standard deviation of its gray levels is
below the first value and more than the second value times that of the previous frame."""


class ShotDetector:
    """Decides for each frame of a video whether a new shot begins with it.

    These are boundaries:

    - hard cuts;
    - the first picture after blank frames (black, white or any color) that differs from the picture
      before them, as in a cut through black or a fade into another scene;
    - a frame during a dissolve or at its end;
    - a jump back in time, because another file or a loop begins.

    These are not: flashes, blank frames within a shot, fades to a color and back, changes of the
    light, and motion of the camera.

    Example:
        ```python
        detector = ShotDetector()
        starts = [seconds for pixels, seconds in frames if detector.update(pixels, seconds)]
        ```
    """

    def __init__(self) -> None:
        self._last_seconds = self._shot_start = -math.inf
        self._dissolves = DissolveDetector()
        self._forget()

    def _forget(self) -> None:
        """Forget all frames, because a new shot begins."""
        self._earlier: Thumbnail | None = None  # the frame two before
        self._previous: Thumbnail | None = None
        self._clear: Thumbnail | None = None  # the last frame that was not faded or blurred
        self._passed_blank = False  # whether there was a blank frame or a flash after `_clear`
        self._max_contrast = 0.0
        self._similarity = 1.0  # of the two frames before
        self._dissolves.reset()

    def update(self, pixels: np.ndarray, seconds: float) -> bool:
        """Add the next frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            seconds: Time of the frame in seconds.

        Returns:
            Whether the frame begins a new shot; False for the first frame of the video.
        """
        return self.update_thumbnail(thumbnail(pixels), seconds)

    def update_thumbnail(self, pixels: np.ndarray, seconds: float) -> bool:
        """Like `update`, but for the `thumbnail` of a frame."""
        frame = Thumbnail(pixels)
        jumped_back, elapsed = seconds < self._last_seconds, seconds - self._last_seconds
        self._last_seconds = seconds
        if jumped_back:
            self._forget()
        is_blank = frame.is_blank or self._is_flash(frame)
        is_appearing = self._passed_blank and self._is_appearing(frame)
        is_boundary = not (is_blank or is_appearing) and self._is_boundary(frame, seconds, elapsed)
        is_boundary = is_boundary and seconds - self._shot_start >= MIN_SHOT_SECONDS
        if is_boundary:
            self._forget()
        if is_boundary or jumped_back:
            self._shot_start = seconds
        decayed = self._max_contrast * 0.5 ** (max(elapsed, 0.0) / CONTRAST_HALF_LIFE)
        self._max_contrast = max(frame.contrast, decayed)
        if is_blank:
            self._passed_blank = True
            self._dissolves.reset()
        elif not (is_appearing or self._is_faded(frame)):
            self._clear, self._passed_blank = frame, False
        self._earlier, self._previous = self._previous, frame
        return jumped_back or is_boundary

    def _is_boundary(self, frame: Thumbnail, seconds: float, elapsed: float) -> bool:
        if self._previous is None or self._clear is None:
            return False
        if self._passed_blank:
            return (
                similarity(frame, self._clear) < MIN_SIMILARITY
                and layout_correlation(frame, self._clear) < MIN_LAYOUT_AFTER_BLANK
            )
        is_hard_cut = self._is_hard_cut(frame, self._previous, elapsed)
        return is_hard_cut or self._dissolves.update(frame, seconds)

    def _is_hard_cut(self, frame: Thumbnail, previous: Thumbnail, elapsed: float) -> bool:
        """Return whether a frame is the first after a hard cut; store its similarity."""
        in_fast_motion = self._similarity < FAST_MOTION
        was_still = self._similarity > STILL and elapsed <= MAX_STILL_SECONDS
        self._similarity = similarity(frame, previous)
        if not (frame.is_textured and previous.is_textured):
            minimum = MIN_FLAT_LAYOUT
        elif in_fast_motion:
            minimum = MIN_SIMILARITY_IN_FAST_MOTION
        else:
            minimum = MIN_SIMILARITY
        return (
            self._similarity < minimum
            and not histograms_match(frame, previous)
            and (was_still or pan_correlation(frame, previous) < MAX_PAN_CORRELATION)
            and (
                self._earlier is None
                or similarity(frame, self._earlier) < MIN_SIMILARITY_TO_EARLIER
            )
        )

    def _is_flash(self, frame: Thumbnail) -> bool:
        previous = self._previous
        return previous is not None and frame.overexposed - previous.overexposed > FLASH_INCREASE

    def _is_appearing(self, frame: Thumbnail) -> bool:
        """Return whether a frame after blank frames is still too faint to be compared."""
        previous = self._previous
        return previous is not None and RISING_STD * previous.std < frame.std < FAINT_STD

    def _is_faded(self, frame: Thumbnail) -> bool:
        return frame.contrast < FADED_CONTRAST * self._max_contrast

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        return {
            "last": None if math.isinf(self._last_seconds) else self._last_seconds,
            "shot_start": None if math.isinf(self._shot_start) else self._shot_start,
            "earlier": self._earlier and self._earlier.to_text(),
            "previous": self._previous and self._previous.to_text(),
            "clear": self._clear and self._clear.to_text(),
            "passed_blank": self._passed_blank,
            "max_contrast": self._max_contrast,
            "similarity": self._similarity,
            "dissolves": self._dissolves.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._last_seconds = -math.inf if state["last"] is None else float(state["last"])
        self._shot_start = -math.inf if state["shot_start"] is None else float(state["shot_start"])
        self._earlier = state["earlier"] and Thumbnail.from_text(state["earlier"])
        self._previous = state["previous"] and Thumbnail.from_text(state["previous"])
        self._clear = state["clear"] and Thumbnail.from_text(state["clear"])
        self._passed_blank = bool(state["passed_blank"])
        self._max_contrast = float(state["max_contrast"])
        self._similarity = float(state["similarity"])
        self._dissolves.restore(state["dissolves"])
