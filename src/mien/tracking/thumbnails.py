"""Gray thumbnails of frames or faces, and the similarity of two thumbnails by block matching.

Each block of a thumbnail is searched for in the whole thumbnail of another frame by normalized
cross-correlation, which ignores lighting. A block is explained if it is found and has moved like
its neighbors or not at all. The mean gray levels of the blocks are the layout of a frame.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mien.io import resize

THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 64, 36
"""Size of a thumbnail in pixels, whatever the aspect ratio of the frame."""

SAMPLES_PER_PIXEL = 5
"""Rows and columns of a frame that are averaged into one pixel of the thumbnail, at least, if the
frame is large enough; with fewer, the noise of a dark scene looks like texture."""

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
"""A frame with fewer textured blocks, of 40, is compared by its layout only."""

MIN_CORRELATION, MIN_STILL_CORRELATION = 0.6, 0.8
"""Minimum correlation with its match for a block to be explained: the first value if at least two
neighbors have moved alike, the second if the block has not moved."""

STILL_TOLERANCE = 0.03
"""A block has not moved if its correlation at its own position is at most this much lower than at
the best position."""

MAX_MOTION_DIFFERENCE = 2
"""Neighboring blocks have moved alike if their motions differ by at most this many pixels in each
direction."""

LAYOUT_WEIGHT = 0.25
"""Weight of the correlation of the layouts in the similarity of two frames."""

MIN_SIMILARITY = 0.27
"""Two frames with a lower similarity show different scenes."""

MIN_HISTOGRAM_INTERSECTION = 0.88
"""Two frames whose histograms intersect by at least this show the same scene. In a repetitive
texture, such as bricks, blocks are found at wrong positions, but the histogram does not change."""

MIN_HISTOGRAM_STD = 10.0
"""Histograms of frames with a lower standard deviation are not compared: in the dark, those of
different scenes are alike."""

FAST_MOTION = 0.6
"""Two successive frames with a lower similarity are of different shots or of fast motion."""

PAN_BLUR = 9
"""Columns (for a tilt, rows) over which `pan_correlation` averages frames before comparing them."""

MIN_OVERLAP = 1 / 3
"""Minimum overlap of two frames of a pan, as a fraction of the frame."""

LEVELS_PER_BIN, HISTOGRAM_SMOOTHING = 4, np.array([1, 2, 3, 2, 1]) / 9
"""Gray levels in a bin of a histogram, and the weights with which neighboring bins are averaged."""

OVEREXPOSED_LEVEL = 250
"""Pixels are overexposed from this gray level on."""

BLANK_STD = 2.5
"""A frame is blank (black, white or one color) if the standard deviation of the gray levels of its
thumbnail is below this."""


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Reduce a frame to a gray thumbnail, which does not keep its aspect ratio.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH) uint8 gray levels.
    """
    return reduced_gray(pixels, THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT)


def reduced_gray(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Reduce a frame to a gray image of a width and height, from a part of its pixels.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        width: Width of the result in pixels.
        height: Height of the result in pixels.

    Returns:
        (height, width) uint8 gray levels.
    """
    row_stride = max(1, pixels.shape[0] // (height * SAMPLES_PER_PIXEL))
    column_stride = max(1, pixels.shape[1] // (width * SAMPLES_PER_PIXEL))
    sampled = pixels[::row_stride, ::column_stride]
    return resize.to_gray(resize.area(sampled, (width, height)))


@dataclass
class Thumbnail:
    """The thumbnail of a frame or face: `gray` is (THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH) uint8."""

    gray: np.ndarray

    def to_text(self) -> str:
        """Return the pixels as base64 text."""
        return base64.b64encode(self.gray.tobytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> Thumbnail:
        """Create a thumbnail from the text that `to_text` returned."""
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
        """The pixels of every square of the size of a block: (29, 57, 64) float32."""
        view = np.lib.stride_tricks.sliding_window_view(self.gray, (BLOCK_SIDE, BLOCK_SIDE))
        return view.reshape(*view.shape[:2], BLOCK_SIDE**2).astype(np.float32)

    @cached_property
    def window_stds(self) -> np.ndarray:
        """Standard deviation of each window, infinite if not textured: (29, 57) float32."""
        gray = self.gray.astype(np.float64)
        count = BLOCK_SIDE**2
        variance = _window_sums(gray * gray) / count - (_window_sums(gray) / count) ** 2
        variance[variance < MIN_BLOCK_STD**2] = math.inf
        return np.sqrt(variance).astype(np.float32)

    @cached_property
    def mean(self) -> float:
        """Mean of all gray levels."""
        return float(self.gray.mean())

    @cached_property
    def std(self) -> float:
        """Standard deviation of all gray levels."""
        return float(self.gray.std())

    @property
    def is_blank(self) -> bool:
        """Whether the frame is black, white or of one color."""
        return self.std < BLANK_STD

    @cached_property
    def histogram(self) -> np.ndarray:
        """Smoothed distribution of the gray levels: (64,), its sum is 1."""
        counts = np.bincount(self.gray.ravel() // LEVELS_PER_BIN, minlength=256 // LEVELS_PER_BIN)
        smoothed = np.convolve(counts, HISTOGRAM_SMOOTHING, "same")
        return smoothed / smoothed.sum()

    @cached_property
    def textured_blocks(self) -> int:
        """Number of textured blocks."""
        return int(np.count_nonzero(self.block_stds >= MIN_BLOCK_STD))

    @property
    def is_textured(self) -> bool:
        """Whether enough blocks are textured to search for them in other frames."""
        return self.textured_blocks >= MIN_TEXTURED_BLOCKS


def similarity(a: Thumbnail, b: Thumbnail) -> float:
    """Return how much two frames show the same, 0 to 1 + LAYOUT_WEIGHT.

    This is a fraction plus `LAYOUT_WEIGHT` times the correlation of the layouts; the correlation
    alone if one frame has too few textured blocks. The fraction is that of the textured blocks of
    `a` that `b` explains or, if this is below `FAST_MOTION`, of the textured blocks of both frames
    that the other frame explains: a zoom explains one direction only.
    """
    layout = max(0.0, layout_correlation(a, b))
    if not (a.is_textured and b.is_textured):
        return layout
    explained = explained_fraction(a, b)
    if explained < FAST_MOTION:  # otherwise, the frames are similar, and time is saved
        n, m = a.textured_blocks, b.textured_blocks
        explained = (n * explained + m * explained_fraction(b, a)) / (n + m)
    return explained + LAYOUT_WEIGHT * layout


def explained_fraction(frame: Thumbnail, earlier: Thumbnail) -> float:
    """Return the fraction of a frame's textured blocks that an earlier frame explains, 0 to 1.

    The frame must have a textured block. If more than half of the textured blocks have not moved,
    the others are not searched for.
    """
    textured = frame.block_stds >= MIN_BLOCK_STD
    scale = BLOCK_SIDE**2 * frame.block_stds + 1e-6
    earlier_stds = np.maximum(earlier.block_stds, MIN_BLOCK_STD)
    still = np.einsum("ij,ij->i", frame.blocks, earlier.blocks) / (scale * earlier_stds)
    still_count = np.count_nonzero(textured & (still > MIN_STILL_CORRELATION))
    fraction = still_count / np.count_nonzero(textured)
    if fraction > 0.5:
        return float(fraction)
    correlations = np.empty((len(frame.blocks), *earlier.window_stds.shape), np.float32)
    # The blocks have mean 0, so the means of the windows need not be subtracted.
    # One product per row of windows: BLAS starts threads for larger ones, which is slower by far.
    products = correlations.transpose(1, 0, 2)
    np.matmul(frame.blocks, earlier.windows.transpose(0, 2, 1), out=products)
    correlations /= earlier.window_stds
    correlations = correlations.reshape(len(correlations), -1)
    best_window = correlations.argmax(1)
    best = correlations[np.arange(len(best_window)), best_window] / scale
    is_still = still >= best - STILL_TOLERANCE
    tops, lefts = np.divmod(best_window, THUMBNAIL_WIDTH - BLOCK_SIDE + 1)
    down = np.where(is_still, 0, tops - BLOCK_TOPS)
    right = np.where(is_still, 0, lefts - BLOCK_LEFTS)
    matched = textured & (best > MIN_CORRELATION)
    grid = len(ROW_STARTS), len(COLUMN_STARTS)
    supporters = _count_supporters(matched.reshape(grid), down.reshape(grid), right.reshape(grid))
    is_supported = supporters.ravel() >= 2
    explained = matched & (is_supported | (is_still & (best > MIN_STILL_CORRELATION)))
    return float(np.count_nonzero(explained) / np.count_nonzero(textured))


def histograms_match(a: Thumbnail, b: Thumbnail) -> bool:
    """Return whether two frames have nearly the same distribution of many gray levels."""
    if min(a.std, b.std) < MIN_HISTOGRAM_STD:
        return False
    return float(np.minimum(a.histogram, b.histogram).sum()) >= MIN_HISTOGRAM_INTERSECTION


def layout_correlation(a: Thumbnail, b: Thumbnail) -> float:
    """Return the correlation of the mean gray levels of the blocks of two frames, -1 to 1."""
    return _correlation(a.block_means, b.block_means)


def pan_correlation(a: Thumbnail, b: Thumbnail) -> float:
    """Return the correlation of two frames where they overlap after a pan or a tilt, -1 to 1.

    This is the highest correlation over all shifts, horizontal or vertical, that leave at least a
    third of the frame in both. Motion blur hardly lowers it, because both frames are blurred first.
    """
    return max(_shift_correlation(a.gray, b.gray), _shift_correlation(a.gray.T, b.gray.T))


def _shift_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the highest correlation of two images, one of them shifted horizontally."""
    a, b = _blur_horizontally(a), _blur_horizontally(b)
    width = a.shape[1]
    max_shift = round(width * (1 - MIN_OVERLAP))
    return max(
        _correlation(a[:, max(0, k) : width + k], b[:, max(0, -k) : width - k])
        for k in range(-max_shift, max_shift + 1)
    )


def _blur_horizontally(gray: np.ndarray) -> np.ndarray:
    """Average over PAN_BLUR columns, and reduce to half the size."""
    height, width = gray.shape
    padded = np.pad(gray.astype(np.float32), ((0, 0), (PAN_BLUR // 2,) * 2), "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, PAN_BLUR, axis=1)
    return windows.mean(2).reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (a - a.mean()).ravel(), (b - b.mean()).ravel()
    return float(x @ y / max(math.sqrt((x @ x) * (y @ y)), 1e-6))


def _window_sums(values: np.ndarray) -> np.ndarray:
    """Sum (H, W) values over every square of the size of a block; return (H - 7, W - 7) sums."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, 0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], 1, out=total[1:, 1:])
    rows = total[BLOCK_SIDE:] - total[:-BLOCK_SIDE]
    return rows[:, BLOCK_SIDE:] - rows[:, :-BLOCK_SIDE]


def _count_supporters(matched: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count for each block how many of its eight neighbors were matched and have moved alike."""
    count = np.zeros(matched.shape, int)
    # Rows and columns from a block to four of its neighbors, so that each pair is compared once.
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        block = slice(0, -y or None), slice(max(0, -x), -x if x > 0 else None)
        neighbor = slice(y, None), slice(max(0, x), x if x < 0 else None)
        alike = matched[block] & matched[neighbor]
        alike &= abs(down[block] - down[neighbor]) <= MAX_MOTION_DIFFERENCE
        alike &= abs(right[block] - right[neighbor]) <= MAX_MOTION_DIFFERENCE
        count[block] += alike
        count[neighbor] += alike
    return count
