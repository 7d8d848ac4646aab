"""Canvases: one to four faces, where their boxes say."""

import cv2
import numpy as np
import pytest

from mien.lab import data
from tests.synthetic import canvases, scenes, tiny


@pytest.fixture(scope="module")
def faces():
    labels = np.arange(21) % 7
    return data.Samples(tiny.faces(labels), labels, np.zeros((21, 10), np.uint8), np.arange(21))


def test_canvases_hold_one_to_four_faces_that_do_not_overlap(faces):
    dice, counts = np.random.default_rng(0), set()
    photo = dice.integers(0, 255, (200, 300), np.uint8)
    for _ in range(60):
        canvas = canvases.compose(faces, [photo], dice)
        assert canvas.pixels.shape == (canvases.SIDE, canvases.SIDE)
        assert canvas.pixels.dtype == np.uint8
        corners = canvas.boxes[:, :2] + canvas.boxes[:, 2:]
        assert (canvas.boxes[:, 2:] >= 48).all()
        assert (canvas.boxes[:, :2] >= 0).all()
        assert (corners <= canvases.SIDE).all()
        others = [
            scenes.overlap(box, np.delete(canvas.boxes, k, 0)).sum()
            for k, box in enumerate(canvas.boxes)
        ]
        assert not sum(others)
        counts.add(len(canvas.labels))
    assert counts == {1, 2, 3, 4}


def test_a_canvas_shows_the_face_that_its_box_and_label_say(faces):
    photo = np.full((160, 160), 7, np.uint8)
    canvas = canvases.compose(faces, [photo], np.random.default_rng(1))
    for (x, y, wide, high), label in zip(canvas.boxes.astype(int), canvas.labels, strict=True):
        patch = canvas.pixels[y : y + high, x : x + wide]
        small = cv2.resize(patch, (48, 48), interpolation=cv2.INTER_AREA)
        away = [np.abs(small[8:-8, 8:-8] - f[8:-8, 8:-8].astype(int)).mean() for f in faces.faces]
        assert faces.labels[np.argmin(away)] == label
        canvas.pixels[y : y + high, x : x + wide] = 7
    assert (canvas.pixels == 7).all()


def test_photographs_to_learn_from_and_to_judge_by_are_different_ones():
    learned, judged = canvases.TRAINING_PHOTOS, canvases.EVALUATION_PHOTOS
    names = scenes.BACKGROUNDS
    assert set(names[learned]) | set(names[judged]) == set(names)
    assert not set(names[learned]) & set(names[judged])
