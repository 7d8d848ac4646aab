"""Batches of faces that concurrent requests share."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien.server.micro_batching import MicroBatchingClassifier
from tests.server import serving


def test_concurrent_requests_share_a_batch(tiny_model):
    batches = []
    classifier = MicroBatchingClassifier(
        tiny_model, 1, timeout_seconds=5.0, on_batch=batches.append
    )
    crops = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
    expected = classifier(crops)
    batches.clear()
    all_announced = threading.Barrier(6)

    def classify(k):
        with classifier.announce_request():
            all_announced.wait()
            return classifier(crops[k : k + 1])

    with ThreadPoolExecutor(6) as pool:
        probabilities = np.concatenate(list(pool.map(classify, range(6))))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert batches == [6]
    classifier(np.repeat(crops, 5, 0))  # one request with several faces
    assert batches == [6, 30]


def test_a_batch_succeeds_after_one_that_raised_an_error(tiny_model):
    classifier = MicroBatchingClassifier(tiny_model, 1, timeout_seconds=1.0)
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Got invalid dimensions"):
        classifier(np.zeros((1, 1, 9, 9), np.uint8))
    assert classifier(np.zeros((1, 1, 8, 8), np.uint8)).shape == (1, 8)


def test_waiting_for_announced_requests_has_a_timeout(tiny_model):
    classifier = MicroBatchingClassifier(tiny_model, 1, timeout_seconds=0.01)
    with classifier.announce_request(), classifier.announce_request():
        assert classifier(np.zeros((1, 1, 8, 8), np.uint8)).shape == (1, 8)


def test_the_warm_up_batch_is_not_counted(tiny_model):
    with serving.in_process(tiny_model) as client:
        client.get("/models")  # loads all models
        assert "\nmien_batch_faces_count 0.0\n" in client.get("/metrics").text
