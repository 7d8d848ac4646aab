"""Metrics and training of benchmarks/canvases.py."""

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


def test_the_most_confident_box_is_matched_first_and_a_face_once():
    boxes = np.array([[1.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0], [24.0, 0.0, 10.0, 10.0]])
    assert canvases.match(boxes, np.array([0.9, 0.8, 0.7]), BOXES).tolist() == [0, -1, -1]
    assert canvases.match(boxes, np.array([0.8, 0.9, 0.7]), BOXES).tolist() == [-1, 0, -1]
    assert canvases.match(boxes, np.ones(3), BOXES[:0]).tolist() == [-1] * 3
    assert canvases.match(BOXES[:0], np.ones(0), BOXES).tolist() == []


def test_average_precision_equals_manual_results():
    # By confidence: hit, miss, hit; a third face has no match. Precision 1, then 2/3.
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 30.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0]])
    precision = canvases.average_precision([BOXES], [boxes], [np.array([0.9, 0.8, 0.7])])
    assert precision == pytest.approx((1 + 2 / 3) / 3)
    # Confidences are compared across images.
    precision = canvases.average_precision(
        [BOXES[:1], BOXES[:1]], [BOXES[1:2], BOXES[:1]], [np.array([0.9]), np.array([0.8])]
    )
    assert precision == pytest.approx((1 / 2) / 2)
    assert canvases.average_precision([BOXES], [BOXES[:0]], [np.zeros(0)]) == 0.0


def test_a_right_prediction_has_perfect_metrics_and_a_wrong_emotion_does_not():
    labels = np.array([3, 0, 3])  # happy, angry, happy
    canvas = canvases.Canvas(np.zeros((48, 64), np.uint8), BOXES, labels)
    right = canvases.Prediction(BOXES, np.eye(7)[labels])
    row = canvases.evaluate_predictions([canvas, canvas], [right, right])
    assert row == {
        "images": 2, "faces": 6, "face_ap": 1.0, "emotion_map": 1.0, "recall": 1.0,
        "precision": 1.0, "accuracy": 1.0,
    }  # fmt: skip
    wrong = canvases.Prediction(BOXES, np.eye(7)[[3, 0, 5]])
    row = canvases.evaluate_predictions([canvas], [wrong])
    assert row["face_ap"] == row["recall"] == 1.0
    assert row["accuracy"] == pytest.approx(2 / 3)
    # The average precision of angry is 1. That of happy is 1/2, because one of two is detected.
    assert row["emotion_map"] == pytest.approx((1 + 1 / 2) / 2)


def test_less_confident_boxes_count_only_for_average_precision():
    canvas = canvases.Canvas(np.zeros((48, 64), np.uint8), BOXES, np.array([3, 0, 3]))
    shares = np.eye(7)[[3, 0, 3]] * np.array([[0.9], [0.8], [0.3]])
    row = canvases.evaluate_predictions([canvas], [canvases.Prediction(BOXES, shares)])
    assert row["face_ap"] == 1.0
    assert row["recall"] == pytest.approx(2 / 3)


def test_boxes_of_several_emotions_on_one_face_are_merged():
    output = {
        "boxes": torch.tensor([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]]).float(),
        "labels": torch.tensor([4, 1, 7]),  # 0 is the background, so emotions start at 1
        "scores": torch.tensor([0.6, 0.3, 0.5]),
    }
    prediction = canvases.merge_boxes(output)
    assert prediction.boxes.tolist() == [[0, 0, 10, 10], [30, 0, 10, 10]]
    expected = np.zeros((2, 7))
    expected[0, [3, 0]], expected[1, 6] = (0.6, 0.3), 0.5
    assert prediction.scores == pytest.approx(expected)
    empty = canvases.merge_boxes({key: value[:0] for key, value in output.items()})
    assert (empty.boxes.shape, empty.scores.shape) == ((0, 4), (0, 7))


def test_a_canvas_is_converted_to_an_input_and_a_target_of_torchvision(faces):
    canvas = canvases.Canvas(faces.faces[0], np.array([[2.0, 3.0, 40.0, 41.0]]), np.array([6]))
    (target,), (image,) = canvases.to_targets([canvas]), canvases.to_inputs([canvas])
    assert target["boxes"].tolist() == [[2.0, 3.0, 42.0, 44.0]]
    assert target["labels"].tolist() == [7]  # 6 + 1: label 0 is the background
    assert image.shape == (1, 48, 48)
    assert image.dtype == torch.float32


def test_a_detector_can_be_trained_and_evaluated(faces, capsys):
    detector = rcnn.detector(models.build("rcnn-slim", channels=1, classes=7), 64)
    rng = np.random.default_rng(0)
    canvases.train(detector, faces, [np.full((160, 160), 9, np.uint8)], 1, rng)
    assert "step 1/1" in capsys.readouterr().out
    crops = [canvases.crop(f, y) for f, y in zip(faces.faces[:2], faces.labels, strict=False)]
    assert crops[0].boxes.tolist() == [[0, 0, 48, 48]]
    predictions = canvases.predict(detector, crops)
    assert len(predictions) == 2
    assert canvases.evaluate_predictions(crops, predictions)["faces"] == 2
