"""Detectors: every one of the shelf, and what each promises."""

import threading

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien import detectors, weights
from mien.detectors import auto, haar, whole, yunet
from mien.errors import UserError

FACE = (150, 40, 300, 210)
"""Left, top, right, bottom of a generous frame round the astronaut's face."""


def textures(size=(240, 320)):
    """Pictures without a face: noise, stripes, blots, a slope, checks, writing."""
    dice, (height, width) = np.random.default_rng(0), size
    rows, columns = np.mgrid[:height, :width]
    blots = cv2.GaussianBlur(dice.integers(0, 256, size, np.uint8), (0, 0), 9)
    writing = np.full(size, 255, np.uint8)
    for line in range(20, height, 18):
        cv2.putText(writing, "No face is here, only words.", (4, line), 0, 0.5, 0)
    grey = [
        dice.integers(0, 256, size, np.uint8),
        (128 + 100 * np.sin(columns / 5)).astype(np.uint8),
        cv2.normalize(blots, None, 0, 255, cv2.NORM_MINMAX),
        (rows * 255 // height).astype(np.uint8),
        ((rows // 16 + columns // 16) % 2 * 255).astype(np.uint8),
        writing,
        np.zeros(size, np.uint8),
    ]
    return [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in grey]


def astronaut_is_found(found):
    ((x, y, width, height), confidence), *_ = found
    left, top, right, bottom = FACE
    inside = left < x + width / 2 < right and top < y + height / 2 < bottom
    return inside and 60 < width < 200 and 60 < height < 200 and 0.5 <= confidence <= 1


def is_sane(found, pixels):
    tall, wide = pixels.shape[:2]
    sure = [confidence for _, confidence in found]
    return sure == sorted(sure, reverse=True) and all(
        np.isfinite(box).all()
        and 0 <= confidence <= 1
        and min(box[2:]) > 0
        and -box[2] < box[0] < wide
        and -box[3] < box[1] < tall
        for box, confidence in found
    )


@pytest.fixture
def fetched(yunet_file, monkeypatch):
    monkeypatch.setenv("MIEN_YUNET", str(yunet_file))


@pytest.fixture
def unavailable(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_HOME", str(tmp_path))
    monkeypatch.delenv("MIEN_YUNET", raising=False)
    monkeypatch.setenv("MIEN_OFFLINE", "1")


@pytest.mark.parametrize("name", detectors.available())
@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (5, 640), (32, 32), (33, 32), (64, 2000), (10, 30000), (30000, 10)]
)
def test_every_detector_bears_every_size(fetched, name, size):
    detect = detectors.load(name)
    dice = np.random.default_rng(0)
    for pixels in (np.zeros((*size, 3), np.uint8), dice.integers(0, 256, (*size, 3), np.uint8)):
        assert is_sane(detect(pixels), pixels)


@pytest.mark.parametrize("name", detectors.available())
def test_every_detector_has_its_name_and_its_geometry(fetched, name):
    detect = detectors.load(name)
    assert detect.name in (name, "yunet")
    assert 0.5 < detect.geometry.size < 2


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_the_astronaut_is_found_at_several_sizes(fetched, astronaut, name):
    detect = detectors.load(name)
    assert astronaut_is_found(detect(astronaut))
    for factor in (0.5, 3):
        size = (round(512 * factor), round(512 * factor))
        found = detect(cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA))
        small = [(tuple(v / factor for v in box), sure) for box, sure in found]
        assert astronaut_is_found(small)


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_one_face_is_found_once(fetched, astronaut, name):
    assert len(detectors.load(name)(astronaut)) == 1


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_no_face_is_found_where_none_is(fetched, name):
    detect = detectors.load(name)
    assert [detect(picture) for picture in textures()] == [[]] * len(textures())


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_a_detector_leaves_its_picture_alone_and_remembers_nothing(fetched, astronaut, name):
    detect, mine = detectors.load(name), astronaut.copy()
    first = detect(mine)
    assert np.array_equal(mine, astronaut)
    for picture in (np.zeros((9, 700, 3), np.uint8), textures()[0]):
        detect(picture)
    assert detect(mine) == first


@pytest.mark.parametrize("name", ["yunet", "haar"])
def test_eight_threads_share_one_detector(fetched, astronaut, name):
    detect = detectors.load(name)
    sizes = [320, 300, 280, 260] * 2
    pictures = [cv2.resize(astronaut, (n, n), interpolation=cv2.INTER_AREA) for n in sizes]
    alone, together = [detect(picture) for picture in pictures], [None] * 8

    def look(k):
        together[k] = detect(pictures[k])

    threads = [threading.Thread(target=look, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_small_picture_of_a_face_is_seen(fetched, astronaut):
    small = cv2.resize(astronaut[30:230, 130:330], (40, 40), interpolation=cv2.INTER_AREA)
    (box, _), *_ = yunet.load()(small)
    assert 0 < box[0] + box[2] / 2 < 40


@pytest.mark.parametrize("kind", ["empty", "text", "half", "another network"])
def test_what_is_not_yunet_is_said_so(yunet_file, tiny_model, tmp_path, capfd, kind):
    good = yunet_file.read_bytes()
    bodies = {
        "empty": b"",
        "text": b"no network" * 99,
        "half": good[: len(good) // 2],
        "another network": tiny_model.read_bytes(),
    }
    path = tmp_path / "yunet.onnx"
    path.write_bytes(bodies[kind])
    with pytest.raises(UserError, match="damaged or not YuNet"):
        yunet.YuNet(path)
    assert capfd.readouterr().err == ""


@given(st.integers(1, 300), st.integers(1, 300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_takes_the_largest_central_square(width, height):
    pixels = np.zeros((height, width, 3), np.uint8)
    (((x, y, w, h), confidence),) = whole.load()(pixels)
    assert w == h == min(width, height)
    assert (x, y) == ((width - w) / 2, (height - h) / 2)
    assert confidence == 1


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 700))
@settings(max_examples=30)
def test_a_shrunk_picture_keeps_to_its_limit(width, height, longest):
    pixels = np.zeros((height, width, 3), np.uint8)
    small, scale = detectors.shrink(pixels, longest)
    assert max(small.shape[:2]) == min(longest, max(width, height))
    assert min(small.shape[:2]) >= 1
    assert scale == min(1, longest / max(width, height))


def test_auto_is_yunet_where_it_can_be_had(fetched, capsys):
    assert auto.load().name == "yunet"
    assert capsys.readouterr().err == ""


def test_auto_is_haar_with_one_hint_where_it_cannot(unavailable, capsys):
    assert auto.load().name == "haar"
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "mien download yunet" in said
    assert "haar" in said


def test_yunet_asked_for_by_name_is_not_replaced(unavailable):
    with pytest.raises(weights.Unavailable):
        yunet.load()


def test_auto_does_not_hide_a_wrong_path(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_YUNET", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(UserError, match="no file is there"):
        auto.load()


def test_haar_is_surer_of_a_face_than_of_a_wall(astronaut):
    detect = haar.load()
    face = (178.0, 70.0, 95.0, 95.0)
    wall = (400.0, 20.0, 95.0, 95.0)
    on_face, on_wall = detect.confidences(astronaut, [face, wall])
    assert on_face > 0.5 > on_wall


def test_an_unknown_detector_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'haar'"):
        detectors.load("harr")


def test_an_opencv_without_cascades_gets_one_sentence(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match="has no Haar cascade; OpenCV 4 has"):
        haar.load()
