"""What a model file says of itself, and how a face is cut out for it."""

import json
import math

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

GOOD = """
labels = ["neutral", "Happiness", "surprise"]
side = 64
input = "image"
output = "scores"
dtype = "float32"
layout = "NHWC"
mean = [127.5]
spread = [127.5]
softmax = true
margin = 0.25
"""

pictures = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
near = st.floats(-60, 100)
length = st.floats(0, 90)


def sidecar(tmp_path, text):
    path = tmp_path / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_contract_comes_back_from_its_metadata():
    card = {"data": "FER2013", "seed": 3, "means": "ä"}
    contract = ModelSpec(EMOTIONS, side=48, margin=0.125, card=card)
    assert from_metadata(contract.to_metadata("0.1"), ["N", 1, 48, 48]) == contract


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"mien.labels": "angry,confused"}, ["N", 1, 48, 48]),
        ({"mien.labels": "happy,happiness"}, ["N", 1, 48, 48]),
        ({"mien.card": "{"}, ["N", 1, 48, 48]),
        ({"mien.margin": "wide"}, ["N", 1, 48, 48]),
        ({"mien.margin": "nan"}, ["N", 1, 48, 48]),
        ({}, ["N", 1, "side", "side"]),
        ({}, ["N", 2304]),
        ({}, ["N", 2, 48, 48]),
    ],
)
def test_metadata_that_make_no_sense_are_said_so(changes, shape):
    metadata = ModelSpec(EMOTIONS, side=48).to_metadata("0.1") | changes
    with pytest.raises(UserError):
        from_metadata(metadata, shape)


def test_a_sidecar_says_everything_about_a_foreign_model(tmp_path):
    contract = from_sidecar(sidecar(tmp_path, GOOD))
    assert contract.labels == ("neutral", "happy", "surprise")
    assert (contract.side, contract.channels, contract.margin) == (64, 1, 0.25)
    assert (contract.input, contract.output) == ("image", "scores")
    assert (contract.dtype, contract.layout, contract.softmax) == ("float32", "NHWC", True)
    assert (contract.mean, contract.spread) == ((127.5,), (127.5,))


def test_labels_and_side_are_enough(tmp_path):
    contract = from_sidecar(sidecar(tmp_path, 'labels = ["sad", "happy"]\nside = 48'))
    assert contract == ModelSpec(("sad", "happy"), side=48)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("side = 64", "", "lacks side"),
        ("side = 64", "side = 0", "side"),
        ("side = 64", 'side = "64"', "side"),
        ("side = 64", "sides = 64", "sides"),
        ('"Happiness"', '"joyless"', "joyless"),
        ('"Happiness"', '"neutral"', "labels"),
        ('["neutral", "Happiness", "surprise"]', '"neutral"', "labels is a list"),
        ('"float32"', '"float16"', "dtype can be uint8 or float32"),
        ('"NHWC"', '"CHW"', "layout"),
        ("mean = [127.5]", "mean = 127.5", "mean is a list"),
        ("mean = [127.5]", 'mean = ["x"]', "mean"),
        ("mean = [127.5]", "mean = [1.0, 2.0]", "mean"),
        ("spread = [127.5]", "spread = [0.0]", "spread"),
        ("softmax = true", 'softmax = "yes"', "softmax"),
        ("margin = 0.25", 'margin = "x"', "margin"),
        ("side = 64", "side = 64\nchannels = 2", "channels can be 1 or 3"),
        ("side = 64", "side = = 64", "is not TOML"),
    ],
)
def test_a_wrong_sidecar_is_told_which_field(tmp_path, old, new, said):
    assert old in GOOD
    with pytest.raises(UserError, match=said):
        from_sidecar(sidecar(tmp_path, GOOD.replace(old, new)))


def test_a_sidecar_in_another_encoding_is_said_so(tmp_path):
    path = tmp_path / "model.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not TOML"):
        from_sidecar(path)


@given(st.tuples(near, near, length, length), st.floats(-0.5, 2))
def test_a_square_has_the_boxes_centre_and_area(box, margin):
    x, y, width, height = box
    left, top, side, other = CropGeometry().square(box, margin)
    assert side == other == pytest.approx(math.sqrt(width * height) * (1 + margin))
    assert left + side / 2 == pytest.approx(x + width / 2, abs=1e-6)
    assert top + side / 2 == pytest.approx(y + height / 2, abs=1e-6)


def test_geometry_moves_and_grows_the_square():
    x, y, side, _ = CropGeometry(size=2, right=0.5, down=-0.25).square((0, 0, 10, 10))
    assert (x, y, side) == (0, -7.5, 20)


@given(
    pictures,
    st.tuples(near, near, length, length),
    st.sampled_from([1, 8, 48]),
    st.sampled_from([1, 3]),
)
def test_any_box_on_any_picture_gives_a_crop_of_its_colours(pixels, box, side, channels):
    cut = crop(pixels, box, side, channels)
    assert cut.shape == (channels, side, side)
    assert cut.dtype == np.uint8
    assert cut.max() <= pixels.max()
    assert cut.min() >= pixels.min()


@given(st.integers(0, 15), st.integers(0, 7), st.integers(1, 20))
def test_a_square_of_the_right_size_is_taken_as_it_is(x, y, side):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 36, 3), np.uint8)
    cut = crop(pixels, (x, y, side, side), side, 3)
    expected = pixels[y : y + side, x : x + side].transpose(2, 0, 1)
    assert np.array_equal(cut, expected)


def test_beyond_the_edge_the_edge_goes_on():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 3] = 200
    cut = crop(pixels, (2, 0, 4, 4), 4, 3)
    assert cut[0, 0].tolist() == [0, 200, 200, 200]
    corner = crop(pixels, (900, 900, 4, 4), 4, 1)
    assert (corner == 200).all()


def test_the_edge_is_cut_as_if_the_picture_were_padded():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    padded = np.pad(pixels, ((16, 16), (16, 16), (0, 0)), mode="edge")
    for x, y in ((-9, -5), (20, 11), (-3, 9)):
        assert np.array_equal(
            crop(pixels, (x, y, 16, 16), 8, 3), crop(padded, (x + 16, y + 16, 16, 16), 8, 3)
        )


def test_large_faces_are_averaged_and_not_sampled():
    rows, columns = np.mgrid[:64, :64]
    board = np.repeat(((rows + columns) % 2 * 254).astype(np.uint8)[:, :, None], 3, axis=2)
    assert (crop(board, (0, 0, 64, 64), 8, 1) == 127).all()


def test_grey_is_the_brightness_that_people_see():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:] = (100, 200, 50)
    wanted = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    assert np.abs(crop(pixels, (0, 0, 4, 4), 4, 1) - wanted).max() < 1


def test_a_crop_leaves_its_picture_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    before = pixels.copy()
    crop(pixels, (-2, -2, 20, 20), 8, 1)
    assert np.array_equal(pixels, before)


def test_the_card_is_json_and_keeps_its_letters():
    metadata = ModelSpec(("happy", "sad"), side=8, card={"a": "ü"}).to_metadata("1")
    assert json.loads(metadata["mien.card"]) == {"a": "ü"}
