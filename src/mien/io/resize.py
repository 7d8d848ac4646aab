"""Resize images and convert them to grayscale in NumPy, with the same results as OpenCV.

The published results were measured on crops made by OpenCV, so this module uses OpenCV's
coefficients and computes the same float32 sums in the same order, which `tests/io/test_resize.py`
verifies. On x86, the results are identical. On other processors, OpenCV may fuse multiplication
and addition; a mean that lies halfway between two gray levels may then differ by 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

Size = tuple[int, int]
"""Width and height in pixels, as in OpenCV and Pillow."""

RGB_WEIGHTS = np.array([9798, 19235, 3735], np.float32) / 2**15
"""Weights of red, green and blue: 0.299, 0.587, 0.114 (ITU-R BT.601), rounded as in OpenCV."""

GRAY_BLOCK_PIXELS = 10_000
"""Number of pixels that `to_gray` converts at once, to limit memory; this size was the fastest."""

AREA_BLOCK_ROWS, AREA_BLOCK_VALUES = 128, 1 << 16
"""Number of input rows and input values that `area` averages at once, to limit memory; these
numbers were the fastest."""

MIN_FRACTION = 1e-3
"""OpenCV ignores an input pixel if at most this fraction of it lies inside an output pixel."""

FIXED_POINT_ONE = 1 << 11
"""The integer that represents a weight of 1.0 in OpenCV's interpolation."""

CUBIC_A = -0.75
"""OpenCV's coefficient `a` of cubic convolution (Keys 1981)."""


class _Taps(NamedTuple):
    """The input pixels that contribute to each output pixel along one axis, and their weights.

    Attributes:
        inputs: (taps, outputs) indices of input pixels.
        weights: (taps, outputs) weights; those of unused taps are 0.
    """

    inputs: np.ndarray
    weights: np.ndarray


def to_gray(pixels: np.ndarray) -> np.ndarray:
    """Convert RGB to grayscale, as `cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)` does.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8.

    Example:
        >>> to_gray(np.full((2, 2, 3), (255, 0, 0), np.uint8)).tolist()
        [[76, 76], [76, 76]]
    """
    height, width = pixels.shape[:2]
    gray = np.empty((height, width), np.uint8)
    rows = max(1, GRAY_BLOCK_PIXELS // width)
    for top in range(0, height, rows):
        block = pixels[top : top + rows].astype(np.float32)
        # Exact in float32: no sum of these products needs more than 23 bits.
        values = block.reshape(-1, 3) @ RGB_WEIGHTS
        values += 0.5  # rounds, because the assignment truncates
        gray[top : top + rows] = values.reshape(-1, width)
    return gray


def area(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resize by averaging over the area of each output pixel, as `cv2.INTER_AREA` does.

    Use it to reduce images. If one side is enlarged, both are interpolated, as in OpenCV.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        size: Width and height of the result, each at least 1.

    Returns:
        (height, width) or (height, width, C) uint8.

    Example:
        >>> area(np.array([[10, 20, 30], [40, 50, 60]], np.uint8), (1, 1)).tolist()
        [[35]]
    """
    scale_x, scale_y = _scale(pixels.shape[1], size[0]), _scale(pixels.shape[0], size[1])
    if scale_x == scale_y == 1:
        return pixels.copy()
    if scale_x < 1 or scale_y < 1:
        return _interpolate(pixels, size, area_weights=True)
    block_width, block_height = _integer_scale(scale_x), _integer_scale(scale_y)
    if block_width and block_height:
        return _block_means(pixels, block_width, block_height)
    # Columns first, as in OpenCV, because float32 sums depend on the order.
    narrow = _average_columns(pixels, size[0])
    small = _weighted_sums(narrow, *_area_taps(pixels.shape[0], size[1]))
    return np.rint(small, out=small).astype(np.uint8).reshape(*size[::-1], *pixels.shape[2:])


def linear(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resize by linear interpolation between pixel centers, as `cv2.INTER_LINEAR` does.

    Use it to enlarge images. Beyond the outermost pixel centers, the edge pixels are repeated.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        size: Width and height of the result, each at least 1.

    Returns:
        (height, width) or (height, width, C) uint8.

    Example:
        >>> linear(np.array([[0, 100]], np.uint8), (4, 1)).tolist()
        [[0, 25, 75, 100]]
    """
    if pixels.shape[:2] == size[::-1]:
        return pixels.copy()
    if pixels.shape[:2] == (2 * size[1], 2 * size[0]):
        return _block_means(pixels, 2, 2)
    return _interpolate(pixels, size, area_weights=False)


def cubic(values: np.ndarray, size: Size) -> np.ndarray:
    """Resize a float map by cubic convolution, as `cv2.INTER_CUBIC` does up to float32 rounding.

    The method is that of Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711, with a = -0.75.

    Args:
        values: (H, W), any range.
        size: Width and height of the result, each at least 1.

    Returns:
        (height, width) float32; it may overshoot the range of `values`.

    Example:
        >>> cubic(np.eye(2), (2, 2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    rows, columns = (_cubic_matrix(n, m) for n, m in zip(values.shape, size[::-1], strict=True))
    return (rows @ values @ columns.T).astype(np.float32)


def _scale(source: int, target: int) -> float:
    """Return the number of input pixels per output pixel, rounded as in OpenCV."""
    return 1 / (target / source)


def _integer_scale(scale: float) -> int:
    """Return the scale if it is an integer, else 0."""
    return int(scale) if abs(scale - int(scale)) < np.finfo(float).eps else 0


def _average_columns(pixels: np.ndarray, width: int) -> np.ndarray:
    """Reduce the width of an image, in blocks of rows and of output columns.

    Args:
        pixels: (H, W) or (H, W, C) uint8.
        width: Number of output columns, at most W.

    Returns:
        (H, width * C) float32, contiguous.
    """
    columns = _area_taps(pixels.shape[1], width)
    channels = pixels[0, 0].size
    # With the rows as the last axis, the sums run over long contiguous blocks.
    narrow = np.empty((width, channels, pixels.shape[0]), np.float32)
    for top in range(0, pixels.shape[0], AREA_BLOCK_ROWS):
        strip = np.ascontiguousarray(pixels[top : top + AREA_BLOCK_ROWS])
        strip = np.atleast_3d(strip).transpose(1, 2, 0)
        outputs = max(1, AREA_BLOCK_VALUES * width // strip.size)
        for left in range(0, width, outputs):
            inputs, weights = (taps[:, left : left + outputs] for taps in columns)
            first = inputs[0, 0]
            block = strip[first : inputs[-1, -1] + 1].astype(np.float32, order="C")
            sums = _weighted_sums(block, inputs - first, weights)
            narrow[left : left + outputs, :, top : top + AREA_BLOCK_ROWS] = sums
    return np.ascontiguousarray(narrow.reshape(-1, pixels.shape[0]).T)


def _block_means(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Compute the means of blocks of `height` x `width` pixels."""
    row_sums = pixels[::height].astype(np.uint32)
    for k in range(1, height):
        row_sums += pixels[k::height]
    sums = row_sums[:, ::width].copy()
    for k in range(1, width):
        sums += row_sums[:, k::width]
    if width == height == 2:  # OpenCV's special case
        return ((sums + 2) >> 2).astype(np.uint8)
    means = sums.astype(np.float32) * (np.float32(1) / np.float32(width * height))
    return np.rint(means, out=means).astype(np.uint8)


@lru_cache(maxsize=128)
def _area_taps(source: int, target: int) -> _Taps:
    """Compute the weights of an average over the area of each output, for `target` <= `source`."""
    scale = _scale(source, target)
    start = np.arange(target) * scale
    end = start + scale
    length = np.minimum(scale, source - start)
    last = np.minimum(np.floor(end), source - 1)
    first = np.minimum(np.ceil(start), last)
    # The pixel before `first` and the pixel `last` lie only partly inside the output.
    before = np.where(first - start > MIN_FRACTION, first - start, 0)
    after = np.where(end - last > MIN_FRACTION, np.minimum(np.minimum(end - last, 1), length), 0)
    offset = np.arange(int((last - first).max()) + 2)[:, None] - 1
    inputs = (first + offset).clip(0, source - 1).astype(np.intp)
    weights = np.where(offset < 0, before, np.where(first + offset < last, 1.0, 0.0))
    weights = np.where(first + offset == last, after, weights) / length
    return _Taps(inputs, weights.astype(np.float32))


def _weighted_sums(values: np.ndarray, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum weighted values along the first axis.

    Args:
        values: (N, ...) float32.
        inputs: (taps, outputs) indices into `values`.
        weights: (taps, outputs) weights.

    Returns:
        (outputs, ...) float32.
    """
    terms = values.take(inputs, axis=0)
    terms *= weights.reshape(*weights.shape, *(1,) * (values.ndim - 1))
    if terms[0].size == 1:  # `sum` would add pairwise, and OpenCV adds one term after the other
        return terms.cumsum(axis=0)[-1]
    return terms.sum(axis=0)


def _interpolate(pixels: np.ndarray, size: Size, *, area_weights: bool) -> np.ndarray:
    """Interpolate between columns and then between rows, in OpenCV's fixed-point arithmetic."""
    columns = _two_taps(pixels.shape[1], size[0], area_weights, is_column=True)
    rows = _two_taps(pixels.shape[0], size[1], area_weights, is_column=False)
    channel_axes = (1,) * (pixels.ndim - 2)
    left, right = (weights.reshape(-1, *channel_axes) for weights in columns.weights)
    above, below = (weights.reshape(-1, 1, *channel_axes) for weights in rows.weights)
    # The shifts by 4, 16 and 2 bits divide by the two factors `FIXED_POINT_ONE` (11 bits each).
    wide = pixels[:, columns.inputs[0]] * left + pixels[:, columns.inputs[1]] * right
    wide >>= 4
    sums = (wide[rows.inputs[0]] * above >> 16) + (wide[rows.inputs[1]] * below >> 16)
    return ((sums + 2) >> 2).astype(np.uint8)


@lru_cache(maxsize=128)
def _two_taps(source: int, target: int, area_weights: bool, is_column: bool) -> _Taps:
    """Compute the two neighbors of each output and their int32 weights (`FIXED_POINT_ONE` is 1.0).

    Args:
        source: Number of inputs.
        target: Number of outputs.
        area_weights: Whether the weights are fractions of areas, as in `area`, instead of
            distances between pixel centers.
        is_column: Whether the outputs are columns. Beyond the outermost pixel centers, OpenCV gives
            a column the whole weight of the edge pixel, but divides that of a row over two taps
            with the same pixel, which rounds differently.
    """
    scale = _scale(source, target)
    output = np.arange(target)
    if area_weights:
        first = np.floor(output * scale)
        fraction = ((output + 1) - (first + 1) * (target / source)).astype(np.float32)
        fraction = np.where(fraction <= 0, np.float32(0), fraction - np.floor(fraction))
    else:
        center = ((output + 0.5) * scale - 0.5).astype(np.float32)
        first = np.floor(center)
        fraction = center - first
    if is_column:
        fraction[(first < 0) | (first >= source - 1)] = 0
    inputs = np.stack([first, first + 1]).clip(0, source - 1).astype(np.intp)
    weights = np.rint(np.stack([1 - fraction, fraction]) * np.float32(FIXED_POINT_ONE))
    return _Taps(inputs, weights.astype(np.int32))


@lru_cache(maxsize=128)
def _cubic_matrix(source: int, target: int) -> np.ndarray:
    """Return the (target, source) matrix of weights; beyond the edges, the edge values repeat."""
    center = ((np.arange(target) + 0.5) * _scale(source, target) - 0.5).astype(np.float32)
    first = np.floor(center)
    fraction, a = center - first, CUBIC_A

    def inner(distance: np.ndarray) -> np.ndarray:  # for at most 1 pixel
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1

    def outer(distance: np.ndarray) -> np.ndarray:  # for 1 to 2 pixels
        return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a

    weights = [outer(fraction + 1), inner(fraction), inner(1 - fraction), outer(2 - fraction)]
    matrix = np.zeros((target, source))
    for offset, weight in enumerate(weights, -1):
        column = (first + offset).clip(0, source - 1).astype(np.intp)
        np.add.at(matrix, (np.arange(target), column), weight)
    return matrix
