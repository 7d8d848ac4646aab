"""Resizing and grayscale conversion in NumPy equal those of OpenCV."""

import doctest
import platform
import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mien.classification.flags import sharpness
from mien.classification.model_spec import crop
from mien.io import resize

IS_X86 = platform.machine() in ("x86_64", "AMD64")
"""On other processors, OpenCV may fuse multiplication and addition, which rounds only once."""

lengths = st.integers(1, 130)
seeds = st.integers(0, 2**32 - 1)
channels = st.sampled_from([(), (3,)])
values = st.sampled_from([256, 2])
"""Number of possible pixel values; with 0 and 1 only, many means lie halfway between two levels."""


def noise(seed, shape, values=256):
    return np.random.default_rng(seed).integers(0, values, shape, np.uint8)


def assert_equal(actual, expected, is_exact=True):
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert np.abs(actual.astype(int) - expected).max() <= (0 if is_exact else 1)


@settings(deadline=None, max_examples=400)
@given(seeds, lengths, lengths, lengths, lengths, channels, values)
@example(0, 129, 10, 100, 1, (), 256)  # one row more than `AREA_BLOCK_ROWS`
@example(0, 49, 49, 1, 1, (), 256)  # a mean of many pixels
@example(0, 300, 200, 16, 48, (3,), 256)  # several blocks
def test_area_equals_opencv(seed, height, width, new_height, new_width, colors, values):
    pixels = noise(seed, (height, width, *colors), values)
    expected = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_AREA)
    assert_equal(resize.area(pixels, (new_width, new_height)), expected, IS_X86)


@settings(deadline=None, max_examples=200)
@given(seeds, st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(1, 9),
       channels, values)  # fmt: skip
def test_area_with_integer_scale_equals_opencv(
    seed, new_height, new_width, scale_y, scale_x, colors, values
):
    pixels = noise(seed, (new_height * scale_y, new_width * scale_x, *colors), values)
    expected = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_AREA)
    assert_equal(resize.area(pixels, (new_width, new_height)), expected)


@pytest.mark.parametrize("values", [256, 2])
@pytest.mark.parametrize("target", [48, 64, 224])
def test_area_to_the_input_size_of_a_model_equals_opencv(target, values):
    step = 1 if target == 48 else 17  # fewer sides for larger targets, to save time
    for side in (*range(target, 8 * target, step), 1000, 1537):
        pixels = noise(side, (side, side), values)
        expected = cv2.resize(pixels, (target, target), interpolation=cv2.INTER_AREA)
        assert_equal(resize.area(pixels, (target, target)), expected, IS_X86)


@settings(deadline=None, max_examples=400)
@given(seeds, lengths, lengths, lengths, lengths, channels, values)
@example(0, 20, 20, 10, 10, (), 256)  # OpenCV averages blocks of 2 x 2 pixels
def test_linear_equals_opencv(seed, height, width, new_height, new_width, colors, values):
    pixels = noise(seed, (height, width, *colors), values)
    expected = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    assert_equal(resize.linear(pixels, (new_width, new_height)), expected)


@settings(deadline=None)
@given(seeds, lengths, lengths, lengths, lengths)
def test_cubic_equals_opencv(seed, height, width, new_height, new_width):
    values = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    expected = cv2.resize(values, (new_width, new_height), interpolation=cv2.INTER_CUBIC)
    resized = resize.cubic(values, (new_width, new_height))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected, atol=1e-4)


def test_gray_of_every_color_equals_opencv():
    levels = np.arange(256, dtype=np.uint8)
    for red in range(256):
        plane = np.stack(np.meshgrid(levels, levels), -1)
        colors = np.insert(plane, 0, red, axis=2)
        assert_equal(resize.to_gray(colors), cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY))


@settings(deadline=None)
@given(seeds, st.integers(1, 300), st.integers(1, 300))
def test_gray_of_a_view_equals_opencv(seed, height, width):
    pixels = noise(seed, (height + 2, width + 3, 3))[1:-1, 2:-1]
    assert_equal(resize.to_gray(pixels), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


@settings(deadline=None, max_examples=200)
@given(
    seeds, st.floats(-80, 150), st.floats(-80, 150), st.floats(0.1, 200), st.sampled_from([1, 3])
)
def test_crop_equals_opencv(seed, x, y, length, channel_count):
    pixels = noise(seed, (120, 100, 3))
    rows, columns = (
        np.arange(round(start), max(round(start + length), round(start) + 1)).clip(0, limit - 1)
        for start, limit in ((y, 120), (x, 100))
    )
    cropped = pixels[rows[:, None], columns]
    if channel_count == 1:
        cropped = cv2.cvtColor(cropped, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if len(cropped) > 48 else cv2.INTER_LINEAR
    cropped = cv2.resize(cropped, (48, 48), interpolation=method)
    expected = cropped[None] if channel_count == 1 else cropped.transpose(2, 0, 1)
    assert_equal(crop(pixels, (x, y, length, length), 48, channel_count), expected, IS_X86)


@pytest.mark.parametrize("channel_count", [1, 3])
def test_crop_of_a_large_face_needs_little_memory(channel_count):
    pixels = noise(0, (3000, 3001, 3))
    tracemalloc.start()
    crop(pixels, (0, 0, 3000, 3000), 48, channel_count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes / 2


def test_same_size_returns_a_copy():
    pixels = noise(0, (9, 7, 3))
    for method in (resize.area, resize.linear):
        resized = method(pixels, (7, 9))
        assert_equal(resized, pixels)
        assert not np.shares_memory(resized, pixels)


@settings(deadline=None)
@given(seeds, st.integers(1, 60), st.sampled_from([1, 3]))
def test_sharpness_equals_opencvs_laplacian(seed, side, channel_count):
    face = noise(seed, (channel_count, side, side))
    gray = face.mean(0).astype(np.float32)
    expected = 100 * cv2.Laplacian(gray, cv2.CV_32F).std() / (gray.std() + 1)
    assert sharpness(face) == pytest.approx(float(expected), rel=1e-5, abs=1e-4)


def test_examples_in_docstrings_are_true():
    assert doctest.testmod(resize).failed == 0
