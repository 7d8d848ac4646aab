"""Shot boundaries: frames that show something else than the previous frame, not merely motion.

Frames are compared as small gray thumbnails. Each block of a thumbnail is searched for in the whole
thumbnail of an earlier frame (block matching by normalized cross-correlation, which ignores
lighting). A block is explained if it is found and has moved like its neighbors. Most blocks stay
explained during pans, zooms, rotations, people who pass and dropped frames; at a hard cut, hardly
any block is explained. Only the current and earlier frames are used.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from mien.io.resize import RGB_WEIGHTS

THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 64, 36
"""Size of a thumbnail in pixels, whatever the aspect ratio of the frame."""

SAMPLE_ROWS, SAMPLE_COLUMNS = 2, 3
"""Rows and columns of sampled pixels that are averaged into one pixel of the thumbnail."""

BLOCK_SIDE = 8
"""Side of a square block in pixels of the thumbnail."""

COLUMN_STARTS = np.linspace(0, THUMBNAIL_WIDTH - BLOCK_SIDE, 8).round().astype(int)
ROW_STARTS = np.linspace(0, THUMBNAIL_HEIGHT - BLOCK_SIDE, 5).round().astype(int)
"""First pixel of each column and each row of blocks; 8 columns and 5 rows cover the thumbnail."""

BLOCK_TOPS = np.repeat(ROW_STARTS, len(COLUMN_STARTS))
BLOCK_LEFTS = np.tile(COLUMN_STARTS, len(ROW_STARTS))
"""First row and first column of each of the 40 blocks, in row-major order."""

MIN_BLOCK_STD = 3.0
"""A block is textured if the standard deviation of its gray levels is at least this; only textured
blocks can be found again."""

MIN_TEXTURED_BLOCKS = 8
"""A frame with fewer textured blocks, of 40, is not compared."""

MIN_CORRELATION, MIN_STILL_CORRELATION = 0.6, 0.8
"""Minimum correlation with its match for a block to be explained: the first value if at least two
neighbors have moved alike, the second if the block has not moved."""

STILL_TOLERANCE = 0.03
"""A block has not moved if its correlation at its own position is at most this much lower than at
the best position."""

MAX_MOTION_DIFFERENCE = 2
"""Neighboring blocks have moved alike if their motions differ by at most this many pixels in each
direction."""

MIN_EXPLAINED = 0.22
"""Minimum fraction of textured blocks that must be explained for a frame to continue its shot."""

FAST_MOTION_EXPLAINED, MIN_EXPLAINED_IN_FAST_MOTION = 0.45, 0.1
"""If the explained fraction of the previous frame was below the first value, as in a whip pan, the
second value replaces `MIN_EXPLAINED`."""

MIN_EXPLAINED_BY_EARLIER = 0.3
"""Minimum explained fraction if a frame is compared with the frame two before it, because the
previous frame explains too little."""

MIN_CLEAR_BLOCKS, MIN_LAYOUT_CORRELATION = 20, 0.8
"""A frame with fewer textured blocks, or with a contrast below `FAINT_CONTRAST`, also continues its
shot if the mean gray levels of its blocks correlate by more than the second value with those of the
earlier frame: few blocks have textured neighbors, and blocks of a faint frame show mostly noise."""

OVEREXPOSED_LEVEL, FLASH_INCREASE = 250, 0.3
"""Pixels are overexposed from this gray level on. A frame is a flash if its fraction of overexposed
pixels is larger than that of the previous frame by more than the second value."""

BLANK_STD = 2.5
"""A frame is blank (black, white or one color) if the standard deviation of the gray levels of its
thumbnail is below this."""

FADED_CONTRAST = 0.5
"""A frame is faded or blurred if its contrast is below this fraction of the contrast of the last
clear frame."""

FAINT_CONTRAST, RISING_CONTRAST = 6.0, 1.1
"""After blank frames, a frame is not yet compared if its contrast in gray levels is below the first
value, and if it is also still appearing: its contrast is more than the second value times that of
the previous frame, or it has fewer than `MIN_CLEAR_BLOCKS` textured blocks."""

MAX_CLEAR_AGE_SECONDS = 2.5
"""Seconds for which a clear frame is remembered while later frames are faded or blurred."""


class ShotDetector:
    """Decides for each frame of a video whether a new shot begins with it.

    These are boundaries:

    - hard cuts;
    - the first picture after blank frames (black, white or any color) that differs from the picture
      before them, as in a cut through black or a fade into another scene;
    - a jump back in time, because another file or a loop begins.

    These are not: flashes, blank frames within a shot, fades and dissolves themselves, changes of
    the light, and motion of the camera.

    Example:
        ```python
        detector = ShotDetector()
        starts = [seconds for pixels, seconds in frames if detector.update(pixels, seconds)]
        ```
    """

    def __init__(self) -> None:
        self._last_seconds = -math.inf
        self._earlier: _Thumbnail | None = None  # the frame two before
        self._previous: _Thumbnail | None = None
        self._clear: _Thumbnail | None = None  # the last frame that was not faded or blurred
        self._clear_seconds = 0.0
        self._passed_blank = False  # whether there was a blank frame or a flash after `_clear`
        self._explained = 1.0

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
        jumped_back, self._last_seconds = seconds < self._last_seconds, seconds
        frame = _Thumbnail(pixels)
        if jumped_back:
            self._earlier = self._previous = self._clear = None
        earlier, previous = self._earlier, self._previous
        self._earlier, self._previous = previous, frame
        if frame.is_blank or (
            previous and frame.overexposed - previous.overexposed > FLASH_INCREASE
        ):
            self._passed_blank = True
            return jumped_back
        if frame.textured_blocks < MIN_TEXTURED_BLOCKS:
            self._earlier, self._previous = earlier, previous
            return jumped_back
        if previous is None or self._clear is None:
            self._set_clear(frame, seconds)
            return jumped_back
        if self._passed_blank:
            is_rising = frame.contrast > RISING_CONTRAST * previous.contrast
            is_appearing = is_rising or frame.textured_blocks < MIN_CLEAR_BLOCKS
            if frame.contrast < FAINT_CONTRAST and is_appearing:
                return jumped_back
            self._explained = explained_fraction(frame, self._clear)
            is_cut = not _continues(frame, self._clear, self._explained)
        else:
            in_fast_motion = self._explained < FAST_MOTION_EXPLAINED
            self._explained = explained_fraction(frame, previous)
            is_cut = not _continues(frame, previous, self._explained, in_fast_motion)
            # A frame after one that is blurred by camera motion cannot be compared with it.
            is_cut = is_cut and not self._is_faded(previous, seconds)
            # Blocks of repeated patterns, such as text, are sometimes found at a wrong position.
            if is_cut and earlier is not None:
                is_cut = explained_fraction(frame, earlier) < MIN_EXPLAINED_BY_EARLIER
        if is_cut or not self._is_faded(frame, seconds):
            self._set_clear(frame, seconds)
        if is_cut:
            self._explained, self._earlier = 1.0, None
        return jumped_back or is_cut

    def _set_clear(self, frame: _Thumbnail, seconds: float) -> None:
        self._clear, self._clear_seconds, self._passed_blank = frame, seconds, False

    def _is_faded(self, frame: _Thumbnail, seconds: float) -> bool:
        """Return whether a frame has much less contrast than a clear frame not long ago."""
        if self._clear is None or seconds - self._clear_seconds > MAX_CLEAR_AGE_SECONDS:
            return False
        return frame.contrast < FADED_CONTRAST * self._clear.contrast

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        return {
            "last": None if math.isinf(self._last_seconds) else self._last_seconds,
            "earlier": self._earlier and self._earlier.to_text(),
            "before": self._previous and self._previous.to_text(),
            "clear": self._clear and self._clear.to_text(),
            "clear_seconds": self._clear_seconds,
            "passed_blank": self._passed_blank,
            "explained": self._explained,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._last_seconds = -math.inf if state["last"] is None else float(state["last"])
        self._earlier = state["earlier"] and _Thumbnail.from_text(state["earlier"])
        self._previous = state["before"] and _Thumbnail.from_text(state["before"])
        self._clear = state["clear"] and _Thumbnail.from_text(state["clear"])
        self._clear_seconds = float(state["clear_seconds"])
        self._passed_blank = bool(state["passed_blank"])
        self._explained = float(state["explained"])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Reduce a frame to a gray thumbnail, which does not keep its aspect ratio.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH) uint8 gray levels.
    """
    rows = _sample_indices(pixels.shape[0], THUMBNAIL_HEIGHT * SAMPLE_ROWS)
    columns = _sample_indices(pixels.shape[1], THUMBNAIL_WIDTH * SAMPLE_COLUMNS)
    sampled = pixels[rows[:, None], columns].reshape(THUMBNAIL_HEIGHT, SAMPLE_ROWS, -1)
    row_sums = sum(sampled[:, k].astype(np.uint16) for k in range(SAMPLE_ROWS))
    row_sums = row_sums.reshape(THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, SAMPLE_COLUMNS, 3)
    sums = sum(row_sums[:, :, k] for k in range(SAMPLE_COLUMNS)).astype(np.float32)
    return np.rint(sums @ (RGB_WEIGHTS / (SAMPLE_ROWS * SAMPLE_COLUMNS))).astype(np.uint8)


@lru_cache(maxsize=16)
def _sample_indices(length: int, count: int) -> np.ndarray:
    """Return the indices of the middles of `count` equal parts of `length` pixels."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


@dataclass
class _Thumbnail:
    """The thumbnail of a frame: `gray` is (THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH) uint8."""

    gray: np.ndarray

    def to_text(self) -> str:
        return base64.b64encode(self.gray.tobytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> _Thumbnail:
        gray = np.frombuffer(base64.b64decode(text), np.uint8)
        return cls(gray.reshape(THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH))

    @cached_property
    def _blocks_and_means(self) -> tuple[np.ndarray, np.ndarray]:
        view = np.lib.stride_tricks.sliding_window_view(self.gray, (BLOCK_SIDE, BLOCK_SIDE))
        blocks = view[ROW_STARTS[:, None], COLUMN_STARTS].reshape(-1, BLOCK_SIDE**2)
        blocks = blocks.astype(np.float32)
        means = blocks.mean(1)
        blocks -= means[:, None]
        return blocks, means

    @property
    def blocks(self) -> np.ndarray:
        """The pixels of each block minus their mean: (40, 64) float32."""
        return self._blocks_and_means[0]

    @property
    def block_means(self) -> np.ndarray:
        """Mean gray level of each block: (40,) float32."""
        return self._blocks_and_means[1]

    @cached_property
    def overexposed(self) -> float:
        """Fraction of overexposed pixels."""
        return float(np.count_nonzero(self.gray >= OVEREXPOSED_LEVEL)) / self.gray.size

    @cached_property
    def block_stds(self) -> np.ndarray:
        """Standard deviation of the gray levels of each block: (40,) float32."""
        return np.sqrt(np.einsum("ij,ij->i", self.blocks, self.blocks)) / BLOCK_SIDE

    @cached_property
    def contrast(self) -> float:
        """Median of the blocks' standard deviations, in gray levels."""
        return float(np.median(self.block_stds))

    @cached_property
    def windows(self) -> np.ndarray:
        """The pixels of every square of the size of a block: (WINDOWS, 64) float32."""
        view = np.lib.stride_tricks.sliding_window_view(self.gray, (BLOCK_SIDE, BLOCK_SIDE))
        return view.reshape(-1, BLOCK_SIDE**2).astype(np.float32)

    @cached_property
    def window_stds(self) -> np.ndarray:
        """Standard deviation of each window, infinite if not textured: (WINDOWS,) float32."""
        gray = self.gray.astype(np.float64)
        count = BLOCK_SIDE**2
        variance = _window_sums(gray * gray) / count - (_window_sums(gray) / count) ** 2
        variance[variance < MIN_BLOCK_STD**2] = math.inf
        return np.sqrt(variance).astype(np.float32).ravel()

    @property
    def is_blank(self) -> bool:
        """Whether the frame is black, white or of one color."""
        return float(self.gray.std()) < BLANK_STD

    @cached_property
    def textured_blocks(self) -> int:
        """Number of textured blocks."""
        return int(np.count_nonzero(self.block_stds >= MIN_BLOCK_STD))


def _continues(
    frame: _Thumbnail, earlier: _Thumbnail, explained: float, in_fast_motion: bool = False
) -> bool:
    """Return whether a frame is of the same shot as an earlier frame.

    Args:
        frame: The frame.
        earlier: The earlier frame.
        explained: Fraction of the frame's textured blocks that the earlier frame explains.
        in_fast_motion: Whether the video is in fast motion.
    """
    if explained >= (MIN_EXPLAINED_IN_FAST_MOTION if in_fast_motion else MIN_EXPLAINED):
        return True
    is_vague = frame.textured_blocks < MIN_CLEAR_BLOCKS or frame.contrast < FAINT_CONTRAST
    return is_vague and (
        _correlation(frame.block_means, earlier.block_means) > MIN_LAYOUT_CORRELATION
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(math.sqrt((a @ a) * (b @ b)), 1e-6))


def _window_sums(values: np.ndarray) -> np.ndarray:
    """Sum (H, W) values over every square of the size of a block; return (H - 7, W - 7) sums."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, 0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], 1, out=total[1:, 1:])
    rows = total[BLOCK_SIDE:] - total[:-BLOCK_SIDE]
    return rows[:, BLOCK_SIDE:] - rows[:, :-BLOCK_SIDE]


def explained_fraction(frame: _Thumbnail, earlier: _Thumbnail) -> float:
    """Return the fraction of a frame's textured blocks that an earlier frame explains, 0 to 1.

    If more than half of the textured blocks have not moved, the others are not searched for.
    """
    textured = frame.block_stds >= MIN_BLOCK_STD
    scale = BLOCK_SIDE**2 * frame.block_stds + 1e-6
    earlier_stds = np.maximum(earlier.block_stds, MIN_BLOCK_STD)
    still = np.einsum("ij,ij->i", frame.blocks, earlier.blocks) / (scale * earlier_stds)
    still_count = np.count_nonzero(textured & (still > MIN_STILL_CORRELATION))
    fraction = still_count / np.count_nonzero(textured)
    if fraction > 0.5:
        return float(fraction)
    correlations = frame.blocks @ earlier.windows.T
    correlations /= earlier.window_stds
    best_window = correlations.argmax(1)
    best = correlations[np.arange(len(best_window)), best_window] / scale
    is_still = still >= best - STILL_TOLERANCE
    tops, lefts = np.divmod(best_window, THUMBNAIL_WIDTH - BLOCK_SIDE + 1)
    down = np.where(is_still, 0, tops - BLOCK_TOPS)
    right = np.where(is_still, 0, lefts - BLOCK_LEFTS)
    found = textured & (best > MIN_CORRELATION)
    grid = len(ROW_STARTS), len(COLUMN_STARTS)
    supporters = _count_supporters(found.reshape(grid), down.reshape(grid), right.reshape(grid))
    is_supported = supporters.ravel() >= 2
    explained = found & (is_supported | (is_still & (best > MIN_STILL_CORRELATION)))
    return float(np.count_nonzero(explained) / np.count_nonzero(textured))


def _count_supporters(found: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count for each block how many of its eight neighbors were found and have moved alike."""
    count = np.zeros(found.shape, int)
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        block = slice(0, -y or None), slice(max(0, -x), -x if x > 0 else None)
        neighbor = slice(y, None), slice(max(0, x), x if x < 0 else None)
        alike = found[block] & found[neighbor]
        alike &= abs(down[block] - down[neighbor]) <= MAX_MOTION_DIFFERENCE
        alike &= abs(right[block] - right[neighbor]) <= MAX_MOTION_DIFFERENCE
        count[block] += alike
        count[neighbor] += alike
    return count
