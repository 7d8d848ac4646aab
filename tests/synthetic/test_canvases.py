"""Canvases: one to four faces on a photograph, with their boxes."""

import cv2
import numpy as np
import pytest

from mien.lab import data
from tests.synthetic import canvases, scenes, tiny


@pytest.fixture(scope="module")
def faces():
    labels = np.arange(21) % 7
    return data.Samples(tiny.faces(labels), labels, np.zeros((21, 10), np.uint8), np.arange(21))


def test_a_canvas_has_one_to_four_faces_that_do_not_overlap(faces):
    rng, counts = np.random.default_rng(0), set()
    photo = rng.integers(0, 255, (200, 300), np.uint8)
    for _ in range(60):
        canvas = canvases.compose(faces, [photo], rng)
        assert canvas.pixels.shape == (canvases.SIDE, canvases.SIDE)
        assert canvas.pixels.dtype == np.uint8
        bottom_right = canvas.boxes[:, :2] + canvas.boxes[:, 2:]
        assert (canvas.boxes[:, 2:] >= 48).all()
        assert (canvas.boxes[:, :2] >= 0).all()
        assert (bottom_right <= canvases.SIDE).all()
        overlaps = [
            scenes.overlap(box, np.delete(canvas.boxes, k, 0)).sum()
            for k, box in enumerate(canvas.boxes)
        ]
        assert not sum(overlaps)
        counts.add(len(canvas.labels))
    assert counts == {1, 2, 3, 4}


def test_boxes_and_labels_match_the_pixels(faces):
    photo = np.full((160, 160), 7, np.uint8)
    canvas = canvases.compose(faces, [photo], np.random.default_rng(1))
    for (x, y, width, height), label in zip(canvas.boxes.astype(int), canvas.labels, strict=True):
        patch = canvas.pixels[y : y + height, x : x + width]
        small = cv2.resize(patch, (48, 48), interpolation=cv2.INTER_AREA)
        differences = [
            np.abs(small[8:-8, 8:-8] - face[8:-8, 8:-8].astype(int)).mean() for face in faces.faces
        ]
        assert faces.labels[np.argmin(differences)] == label
        canvas.pixels[y : y + height, x : x + width] = 7
    assert (canvas.pixels == 7).all()  # there is no face outside the boxes


def test_training_and_evaluation_photographs_are_disjoint():
    training, evaluation = canvases.TRAINING_PHOTOS, canvases.EVALUATION_PHOTOS
    names = scenes.BACKGROUNDS
    assert set(names[training]) | set(names[evaluation]) == set(names)
    assert not set(names[training]) & set(names[evaluation])
