"""Model specifications, crop geometry and cropping."""

import json
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.classification.model_spec import (
    CropGeometry,
    ModelSpec,
    crop,
    from_metadata,
    from_sidecar,
)
from mien.errors import UserError
from mien.labels import EMOTIONS

VALID_SIDECAR = """
labels = ["neutral", "Happiness", "surprise"]
side = 64
input = "image"
output = "scores"
dtype = "float32"
layout = "NHWC"
mean = [127.5]
std = [127.5]
softmax = true
margin = 0.25
"""

images = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
coordinates = st.floats(-60, 100)
lengths = st.floats(0, 90)
"""Strategies of images, and of the position and size of boxes, which may lie outside of them."""


def sidecar(tmp_path, text):
    path = tmp_path / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_specification_can_be_restored_from_its_metadata():
    card = {"data": "FER2013", "seed": 3, "target": "ä"}
    spec = ModelSpec(EMOTIONS, side=48, margin=0.125, card=card)
    assert from_metadata(spec.to_metadata("0.1"), ["N", 1, 48, 48]) == spec


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"mien.labels": "angry,confused"}, ["N", 1, 48, 48]),
        ({"mien.labels": "happy,happiness"}, ["N", 1, 48, 48]),
        ({"mien.card": "{"}, ["N", 1, 48, 48]),
        ({"mien.margin": "wide"}, ["N", 1, 48, 48]),
        ({"mien.margin": "nan"}, ["N", 1, 48, 48]),
        ({}, ["N", 1, "side", "side"]),
        ({}, ["N", 48 * 48]),
        ({}, ["N", 2, 48, 48]),
    ],
)
def test_invalid_metadata_is_an_error(changes, shape):
    metadata = ModelSpec(EMOTIONS, side=48).to_metadata("0.1") | changes
    with pytest.raises(UserError):
        from_metadata(metadata, shape)


def test_a_sidecar_sets_every_field(tmp_path):
    spec = from_sidecar(sidecar(tmp_path, VALID_SIDECAR))
    assert spec.labels == ("neutral", "happy", "surprise")
    assert (spec.side, spec.channels, spec.margin) == (64, 1, 0.25)
    assert (spec.input, spec.output) == ("image", "scores")
    assert (spec.dtype, spec.layout, spec.softmax) == ("float32", "NHWC", True)
    assert (spec.mean, spec.std) == ((127.5,), (127.5,))


def test_only_labels_and_side_are_required(tmp_path):
    spec = from_sidecar(sidecar(tmp_path, 'labels = ["sad", "happy"]\nside = 48'))
    assert spec == ModelSpec(("sad", "happy"), side=48)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("side = 64", "", "side"),
        ("side = 64", "side = 0", "side"),
        ("side = 64", 'side = "64"', "side"),
        ("side = 64", "sides = 64", "sides"),
        ('"Happiness"', '"joyless"', "joyless"),
        ('"Happiness"', '"neutral"', "labels"),
        ('["neutral", "Happiness", "surprise"]', '"neutral"', "labels"),
        ('"float32"', '"float16"', "dtype .* uint8 or float32"),
        ('"NHWC"', '"CHW"', "layout"),
        ("mean = [127.5]", "mean = 127.5", "mean"),
        ("mean = [127.5]", 'mean = ["x"]', "mean"),
        ("mean = [127.5]", "mean = [1.0, 2.0]", "mean"),
        ("std = [127.5]", "std = [0.0]", "std"),
        ("softmax = true", 'softmax = "yes"', "softmax"),
        ("margin = 0.25", 'margin = "x"', "margin"),
        ("side = 64", "side = 64\nchannels = 2", "channels .* 1 or 3"),
        ("side = 64", "side = = 64", "TOML"),
    ],
)
def test_an_invalid_sidecar_is_an_error_that_names_the_field(tmp_path, old, new, field):
    assert old in VALID_SIDECAR
    with pytest.raises(UserError, match=field):
        from_sidecar(sidecar(tmp_path, VALID_SIDECAR.replace(old, new)))


def test_a_sidecar_that_is_not_utf8_is_an_error(tmp_path):
    path = tmp_path / "model.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="TOML"):
        from_sidecar(path)


@given(st.tuples(coordinates, coordinates, lengths, lengths), st.floats(-0.5, 2))
def test_a_square_has_the_center_and_area_of_the_box(box, margin):
    x, y, width, height = box
    left, top, side, height_of_square = CropGeometry().square(box, margin)
    assert side == height_of_square == pytest.approx(math.sqrt(width * height) * (1 + margin))
    assert left + side / 2 == pytest.approx(x + width / 2, abs=1e-6)
    assert top + side / 2 == pytest.approx(y + height / 2, abs=1e-6)


def test_a_geometry_moves_and_scales_the_square():
    x, y, side, _ = CropGeometry(size=2, right=0.5, down=-0.25).square((0, 0, 10, 10))
    assert (x, y, side) == (0, -7.5, 20)


@given(
    images,
    st.tuples(coordinates, coordinates, lengths, lengths),
    st.sampled_from([1, 8, 48]),
    st.sampled_from([1, 3]),
)
def test_pixels_of_a_crop_are_within_the_range_of_the_image(pixels, box, side, channels):
    result = crop(pixels, box, side, channels)
    assert result.shape == (channels, side, side)
    assert result.dtype == np.uint8
    assert result.max() <= pixels.max()
    assert result.min() >= pixels.min()


@given(st.integers(0, 15), st.integers(0, 7), st.integers(1, 20))
def test_a_square_of_the_output_size_is_copied_unchanged(x, y, side):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 36, 3), np.uint8)
    result = crop(pixels, (x, y, side, side), side, 3)
    expected = pixels[y : y + side, x : x + side].transpose(2, 0, 1)
    assert np.array_equal(result, expected)


def test_pixels_outside_the_image_repeat_its_edge():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 3] = 200
    result = crop(pixels, (2, 0, 4, 4), 4, 3)
    assert result[0, 0].tolist() == [0, 200, 200, 200]
    corner = crop(pixels, (900, 900, 4, 4), 4, 1)
    assert (corner == 200).all()


def test_a_crop_across_the_edge_equals_that_of_a_padded_image():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    padded = np.pad(pixels, ((16, 16), (16, 16), (0, 0)), mode="edge")
    for x, y in ((-9, -5), (20, 11), (-3, 9)):
        assert np.array_equal(
            crop(pixels, (x, y, 16, 16), 8, 3), crop(padded, (x + 16, y + 16, 16, 16), 8, 3)
        )


def test_large_squares_are_downscaled_by_averaging():
    rows, columns = np.mgrid[:64, :64]
    checkerboard = np.repeat(((rows + columns) % 2 * 254).astype(np.uint8)[:, :, None], 3, axis=2)
    assert (crop(checkerboard, (0, 0, 64, 64), 8, 1) == 127).all()


def test_gray_pixels_are_the_luma_of_rgb():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:] = (100, 200, 50)
    expected = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    assert np.abs(crop(pixels, (0, 0, 4, 4), 4, 1) - expected).max() < 1


def test_cropping_does_not_change_the_image():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    before = pixels.copy()
    crop(pixels, (-2, -2, 20, 20), 8, 1)
    assert np.array_equal(pixels, before)


def test_the_card_is_stored_as_json():
    metadata = ModelSpec(("happy", "sad"), side=8, card={"a": "ü"}).to_metadata("1")
    assert json.loads(metadata["mien.card"]) == {"a": "ü"}


@pytest.mark.parametrize(
    "changes",
    [
        {"mien.margin": "1e6"},
        {"mien.margin": "-1"},
        {"mien.card": "[" * 100_000},
        {"mien.card": '{"a":' * 100_000},
        {"mien.card": " " * 2**21 + "{}"},
        {"mien.card": "[1]"},
        {"mien.card": "null"},
        {"mien.card": '{"heads": [1, 2]}'},
        {"mien.card": '{"heads": {"votes": null}}'},
        {"mien.card": '{"seed": ' + "9" * 5000 + "}"},
        {"mien.labels": "happy," + "x" * 10**6},
    ],
)
def test_absurd_metadata_is_a_short_error_in_one_line(changes):
    metadata = ModelSpec(EMOTIONS, side=48).to_metadata("0.1") | changes
    with pytest.raises(UserError) as caught:
        from_metadata(metadata, ["N", 1, 48, 48])
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", "1000000000"),
        ("side", "1" + "0" * 5000),
        ("channels", "true"),
        ("channels", "1.0"),
        ("input", "5"),
        ("output", '["scores"]'),
        ("softmax", "1"),
        ("dtype", "{ a = 1 }"),
        ("margin", "1e6"),
        ("margin", "1" + "0" * 400),
        ("mean", "[1e308]"),
        ("mean", "[1" + "0" * 400 + "]"),
        ("std", "[1e-40]"),
        ("std", "[nan]"),
        ("labels", "[[1]]"),
        ("unknown", "[" * 100_000),
        ("unknown", "'" + "x" * 2**21 + "'"),
    ],
)
def test_an_absurd_sidecar_is_a_short_error_in_one_line(tmp_path, field, value):
    lines = [line for line in VALID_SIDECAR.splitlines() if line and not line.startswith(field)]
    path = sidecar(tmp_path, "\n".join([*lines, f"{field} = {value}"]))
    with pytest.raises(UserError) as caught:
        from_sidecar(path)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert "\n" not in str(caught.value)


def test_a_sidecar_that_is_not_a_regular_file_is_an_error(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        with pytest.raises(UserError, match=path.name):
            from_sidecar(path)
