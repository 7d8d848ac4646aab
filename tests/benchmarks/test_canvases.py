"""Scores of benchmarks/canvases.py."""

import numpy as np
import pytest
import torch

from benchmarks import canvases
from mien.lab import data, models
from mien.lab.models import rcnn
from tests.synthetic import tiny


@pytest.fixture(scope="module")
def faces():
    labels = np.arange(21) % 7
    return data.Samples(tiny.faces(labels), labels, np.zeros((21, 10), np.uint8), np.arange(21))


BOXES = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0], [40.0, 0.0, 10.0, 10.0]])


def test_the_surest_box_has_first_pick_and_a_face_is_found_once():
    boxes = np.array([[1.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0], [24.0, 0.0, 10.0, 10.0]])
    assert canvases.matched(boxes, np.array([0.9, 0.8, 0.7]), BOXES).tolist() == [0, -1, -1]
    assert canvases.matched(boxes, np.array([0.8, 0.9, 0.7]), BOXES).tolist() == [-1, 0, -1]
    assert canvases.matched(boxes, np.ones(3), BOXES[:0]).tolist() == [-1] * 3
    assert canvases.matched(BOXES[:0], np.ones(0), BOXES).tolist() == []


def test_average_precision_is_worked_out_by_hand():
    # Surest first: hit, miss, hit; a third face is never found. Precision 1, then 2/3.
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 30.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0]])
    found = canvases.average_precision([BOXES], [boxes], [np.array([0.9, 0.8, 0.7])])
    assert found == pytest.approx((1 + 2 / 3) / 3)
    # Over two pictures the scores are compared with one another.
    found = canvases.average_precision(
        [BOXES[:1], BOXES[:1]], [BOXES[1:2], BOXES[:1]], [np.array([0.9]), np.array([0.8])]
    )
    assert found == pytest.approx((1 / 2) / 2)
    assert canvases.average_precision([BOXES], [BOXES[:0]], [np.zeros(0)]) == 0.0


def test_the_right_answer_is_judged_perfect_and_a_wrong_emotion_is_told():
    labels = np.array([3, 0, 3])
    canvas = canvases.Canvas(np.zeros((48, 64), np.uint8), BOXES, labels)
    right = canvases.Found(BOXES, np.eye(7)[labels])
    row = canvases.judged([canvas, canvas], [right, right])
    assert row == {
        "pictures": 2, "faces": 6, "face_ap": 1.0, "emotion_map": 1.0, "recall": 1.0,
        "precision": 1.0, "accuracy": 1.0,
    }  # fmt: skip
    wrong = canvases.Found(BOXES, np.eye(7)[[3, 0, 5]])
    row = canvases.judged([canvas], [wrong])
    assert row["face_ap"] == row["recall"] == 1.0
    assert row["accuracy"] == pytest.approx(2 / 3)
    assert row["emotion_map"] == pytest.approx((1 + 1 / 2) / 2)


def test_boxes_that_are_not_sure_count_on_the_curve_alone():
    canvas = canvases.Canvas(np.zeros((48, 64), np.uint8), BOXES, np.array([3, 0, 3]))
    shares = np.eye(7)[[3, 0, 3]] * np.array([[0.9], [0.8], [0.3]])
    row = canvases.judged([canvas], [canvases.Found(BOXES, shares)])
    assert row["face_ap"] == 1.0
    assert row["recall"] == pytest.approx(2 / 3)


def test_the_boxes_of_several_emotions_on_one_face_become_one_with_shares():
    answer = {
        "boxes": torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]]).float(),
        "labels": torch.tensor([4, 1, 7]),
        "scores": torch.tensor([0.6, 0.3, 0.5]),
    }
    found = canvases.merged(answer)
    assert found.boxes.tolist() == [[0, 0, 10, 10], [30, 0, 10, 10]]
    expected = np.zeros((2, 7))
    expected[0, [3, 0]], expected[1, 6] = (0.6, 0.3), 0.5
    assert found.shares == pytest.approx(expected)
    nothing = canvases.merged({key: value[:0] for key, value in answer.items()})
    assert (nothing.boxes.shape, nothing.shares.shape) == ((0, 4), (0, 7))


def test_a_detector_is_taught_the_boxes_and_labels_of_a_canvas(faces):
    canvas = canvases.Canvas(faces.faces[0], np.array([[2.0, 3.0, 40.0, 41.0]]), np.array([6]))
    (target,), (picture,) = canvases.targets([canvas]), canvases.pictures([canvas])
    assert target["boxes"].tolist() == [[2.0, 3.0, 42.0, 44.0]]
    assert target["labels"].tolist() == [7]
    assert picture.shape == (1, 48, 48)
    assert picture.dtype == torch.float32


def test_a_detector_can_be_taught_and_asked(faces, capsys):
    whole = rcnn.detector(models.build("rcnn-slim", channels=1, classes=7), 64)
    dice = np.random.default_rng(0)
    canvases.learn(whole, faces, [np.full((160, 160), 9, np.uint8)], 1, dice)
    assert "step 1/1" in capsys.readouterr().out
    crops = [canvases.crop(f, y) for f, y in zip(faces.faces[:2], faces.labels, strict=False)]
    assert crops[0].boxes.tolist() == [[0, 0, 48, 48]]
    found = canvases.find(whole, crops)
    assert len(found) == 2
    assert canvases.judged(crops, found)["faces"] == 2
