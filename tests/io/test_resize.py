"""Resizing and grey conversion in NumPy against OpenCV, which is only needed here."""

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

OPENCV_FUSES = platform.machine() not in ("x86_64", "AMD64")
"""Elsewhere its sums may be rounded once where NumPy's are rounded twice."""

lengths = st.integers(1, 130)
seeds = st.integers(0, 2**32 - 1)
channels = st.sampled_from([(), (3,)])
values = st.sampled_from([256, 2])
"""Pictures of any values, or of 0 and 1 only: then many means lie halfway between two levels."""


def noise(seed, shape, values=256):
    return np.random.default_rng(seed).integers(0, values, shape, np.uint8)


def assert_equal(found, wanted, exact=True):
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert np.abs(found.astype(int) - wanted).max() <= (0 if exact else 1)


@settings(deadline=None, max_examples=400)
@given(seeds, lengths, lengths, lengths, lengths, channels, values)
@example(0, 129, 10, 100, 1, (), 256)
@example(0, 49, 49, 1, 1, (), 256)
@example(0, 300, 200, 16, 48, (3,), 256)
def test_areas_are_averaged_as_opencv_does(seed, height, width, high, wide, colours, values):
    pixels = noise(seed, (height, width, *colours), values)
    wanted = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_AREA)
    assert_equal(resize.area(pixels, (wide, high)), wanted, not OPENCV_FUSES)


@settings(deadline=None, max_examples=200)
@given(seeds, st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(1, 9),
       channels, values)  # fmt: skip
def test_so_are_areas_of_whole_pixels(seed, high, wide, down, across, colours, values):
    pixels = noise(seed, (high * down, wide * across, *colours), values)
    wanted = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_AREA)
    assert_equal(resize.area(pixels, (wide, high)), wanted)


@pytest.mark.parametrize("values", [256, 2])
@pytest.mark.parametrize("target", [48, 64, 224])
def test_faces_of_every_size_are_shrunk_as_opencv_does(target, values):
    for side in (*range(target, 8 * target, 1 if target == 48 else 17), 1000, 1537):
        pixels = noise(side, (side, side), values)
        wanted = cv2.resize(pixels, (target, target), interpolation=cv2.INTER_AREA)
        assert_equal(resize.area(pixels, (target, target)), wanted, not OPENCV_FUSES)


@settings(deadline=None, max_examples=400)
@given(seeds, lengths, lengths, lengths, lengths, channels, values)
@example(0, 20, 20, 10, 10, (), 256)
def test_pixels_are_interpolated_as_opencv_does(seed, height, width, high, wide, colours, values):
    pixels = noise(seed, (height, width, *colours), values)
    wanted = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR)
    assert_equal(resize.linear(pixels, (wide, high)), wanted)


@settings(deadline=None)
@given(seeds, lengths, lengths, lengths, lengths)
def test_a_map_is_enlarged_as_opencv_does(seed, height, width, high, wide):
    found = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    wanted = cv2.resize(found, (wide, high), interpolation=cv2.INTER_CUBIC)
    made = resize.cubic(found, (wide, high))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, wanted, atol=1e-4)


def test_every_colour_is_as_grey_as_in_opencv():
    levels = np.arange(256, dtype=np.uint8)
    for red in range(256):
        plane = np.stack(np.meshgrid(levels, levels), -1)
        colours = np.insert(plane, 0, red, axis=2)
        assert_equal(resize.to_gray(colours), cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY))


@settings(deadline=None)
@given(seeds, st.integers(1, 300), st.integers(1, 300))
def test_a_part_of_a_picture_turns_grey_in_blocks(seed, height, width):
    pixels = noise(seed, (height + 2, width + 3, 3))[1:-1, 2:-1]
    assert_equal(resize.to_gray(pixels), cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


@settings(deadline=None, max_examples=200)
@given(
    seeds, st.floats(-80, 150), st.floats(-80, 150), st.floats(0.1, 200), st.sampled_from([1, 3])
)
def test_a_crop_is_what_opencv_made_of_it(seed, x, y, length, count):
    pixels = noise(seed, (120, 100, 3))
    rows, columns = (
        np.arange(round(start), max(round(start + length), round(start) + 1)).clip(0, most - 1)
        for start, most in ((y, 120), (x, 100))
    )
    cut = pixels[rows[:, None], columns]
    if count == 1:
        cut = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)
    way = cv2.INTER_AREA if len(cut) > 48 else cv2.INTER_LINEAR
    cut = cv2.resize(cut, (48, 48), interpolation=way)
    wanted = cut[None] if count == 1 else cut.transpose(2, 0, 1)
    assert_equal(crop(pixels, (x, y, length, length), 48, count), wanted, not OPENCV_FUSES)


@pytest.mark.parametrize("count", [1, 3])
def test_a_huge_face_needs_little_memory(count):
    pixels = noise(0, (3000, 3001, 3))
    tracemalloc.start()
    crop(pixels, (0, 0, 3000, 3000), 48, count)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < pixels.nbytes / 2


def test_what_has_the_size_already_is_a_copy():
    pixels = noise(0, (9, 7, 3))
    for change in (resize.area, resize.linear):
        made = change(pixels, (7, 9))
        assert_equal(made, pixels)
        assert not np.shares_memory(made, pixels)


@settings(deadline=None)
@given(seeds, st.integers(1, 60), st.sampled_from([1, 3]))
def test_sharpness_is_the_spread_of_opencvs_laplacian(seed, side, count):
    face = noise(seed, (count, side, side))
    grey = face.mean(0).astype(np.float32)
    wanted = 100 * cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 1)
    assert sharpness(face) == pytest.approx(float(wanted), rel=1e-5, abs=1e-4)


def test_the_examples_are_true():
    assert doctest.testmod(resize).failed == 0
