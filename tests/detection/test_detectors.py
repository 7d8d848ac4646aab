"""Detectors: every one of the registry, and what each promises."""

import itertools
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mien
from mien import detection
from mien.detection import _roll, _rotation, whole, yunet
from mien.errors import UserError
from mien.results import Detection, estimate_yaw, iou, non_maximum_suppression

FACE = (150, 40, 300, 210)
"""Left, top, right, bottom of a generous frame round the astronaut's face."""


def textures(size=(240, 320)):
    """Pictures without a face: noise, stripes, blots, a slope, checks, writing."""
    rng, (height, width) = np.random.default_rng(0), size
    rows, columns = np.mgrid[:height, :width]
    blots = cv2.GaussianBlur(rng.integers(0, 256, size, np.uint8), (0, 0), 9)
    writing = np.full(size, 255, np.uint8)
    for line in range(20, height, 18):
        cv2.putText(writing, "No face is here, only words.", (4, line), 0, 0.5, 0)
    grey = [
        rng.integers(0, 256, size, np.uint8),
        (128 + 100 * np.sin(columns / 5)).astype(np.uint8),
        cv2.normalize(blots, None, 0, 255, cv2.NORM_MINMAX),
        (rows * 255 // height).astype(np.uint8),
        ((rows // 16 + columns // 16) % 2 * 255).astype(np.uint8),
        writing,
        np.zeros(size, np.uint8),
    ]
    return [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in grey]


def astronaut_is_found(found):
    (x, y, width, height), confidence = found[0].box, found[0].confidence
    left, top, right, bottom = FACE
    inside = left < x + width / 2 < right and top < y + height / 2 < bottom
    return inside and 60 < width < 200 and 60 < height < 200 and 0.5 <= confidence <= 1


def is_sane(found, pixels):
    tall, wide = pixels.shape[:2]
    sure = [face.confidence for face in found]
    return sure == sorted(sure, reverse=True) and all(
        np.isfinite(face.box).all()
        and 0 <= face.confidence <= 1
        and min(face.box[2:]) > 0
        and -face.box[2] < face.box[0] < wide
        and -face.box[3] < face.box[1] < tall
        for face in found
    )


@pytest.fixture(scope="module")
def detect():
    return yunet.load()


def turned(pixels, degrees):
    """A picture turned clockwise on a larger grey ground, and where its points go."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(pixels, matrix, size, borderValue=(127, 127, 127)), matrix


# Every detector


@pytest.mark.parametrize("name", detection.available())
@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (5, 640), (32, 32), (33, 32), (64, 2000), (10, 30000), (30000, 10)]
)
def test_every_detector_takes_every_size(name, size):
    find = detection.load(name)
    rng = np.random.default_rng(0)
    for pixels in (np.zeros((*size, 3), np.uint8), rng.integers(0, 256, (*size, 3), np.uint8)):
        assert is_sane(find(pixels), pixels)


@pytest.mark.parametrize("name", detection.available())
def test_every_detector_has_its_name_and_its_geometry(name):
    find = detection.load(name)
    assert find.name == name
    assert 0.5 < find.geometry.size < 2


def test_an_unknown_detector_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'yunet'"):
        detection.load("yunnet")


def test_a_detector_of_ones_own_is_five_lines(astronaut):
    class Centre:
        name, geometry = "centre", mien.CropGeometry()

        def __call__(self, pixels):
            height, width = pixels.shape[:2]
            return [mien.Detection((width / 4, height / 4, width / 2, height / 2), 1.0)]

    (face,) = mien.Analyzer(detector=Centre()).analyze(astronaut)
    assert face.box == (128, 128, 256, 256)
    assert face.landmarks is None
    assert sum(face.emotions.values()) == pytest.approx(1, abs=1e-6)


@given(st.integers(1, 300), st.integers(1, 300))
def test_whole_takes_the_largest_central_square(width, height):
    pixels = np.zeros((height, width, 3), np.uint8)
    (face,) = whole.load()(pixels)
    x, y, w, h = face.box
    assert w == h == min(width, height)
    assert (x, y) == ((width - w) / 2, (height - h) / 2)
    assert (face.confidence, face.roll, face.landmarks) == (1, 0, None)


# YuNet


def test_the_astronaut_is_found_at_several_sizes(detect, astronaut):
    assert astronaut_is_found(detect(astronaut))
    for factor in (0.5, 3):
        size = (round(512 * factor), round(512 * factor))
        found = detect(cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA))
        assert astronaut_is_found([face.scaled(1 / factor) for face in found])
        assert len(found) == 1


def test_the_landmarks_lie_where_eyes_nose_and_mouth_are(detect, astronaut):
    (face,) = detect(astronaut)
    right_eye, left_eye, nose, mouth_right, mouth_left = face.landmarks
    assert np.allclose(right_eye, (200, 102), atol=6)
    assert np.allclose(left_eye, (247, 103), atol=6)
    assert np.allclose(nose, (221, 124), atol=8)
    assert mouth_right[0] < nose[0] < mouth_left[0]
    assert min(mouth_right[1], mouth_left[1]) > nose[1]
    assert abs(estimate_yaw(face.landmarks)) < 0.3


@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_landmarks_agree_with_opencv(detect, astronaut, yunet_file, seed):
    rng = np.random.default_rng(seed)
    scale, stretch = rng.uniform(0.25, 1.2), rng.uniform(0.8, 1.25)
    one = cv2.resize(astronaut, None, fx=scale, fy=scale * stretch)
    two = cv2.resize(astronaut[:, ::-1], (one.shape[1], one.shape[0]))
    pixels = yunet.pad(np.hstack([one, two])[: one.shape[0]])
    if max(pixels.shape) > 640:
        pixels = yunet.pad(yunet.shrink(pixels, 640 / max(pixels.shape)))
    theirs = cv2.FaceDetectorYN.create(
        str(yunet_file), "", (pixels.shape[1], pixels.shape[0]), yunet.MIN_CONFIDENCE
    )
    _, rows = theirs.detect(np.ascontiguousarray(pixels[..., ::-1]))
    rows = sorted(rows.tolist(), key=lambda row: -row[-1])
    found = detect(pixels)
    assert len(found) == len(rows) >= 1
    for face, row in zip(found, rows, strict=True):
        assert iou(face.box, row[:4]) >= 0.98
        assert face.confidence == pytest.approx(row[-1], abs=1e-3)
        assert np.allclose(np.ravel(face.landmarks), row[4:14], atol=0.5)


def test_no_face_is_found_where_none_is(detect):
    assert [detect(picture) for picture in textures()] == [[]] * len(textures())


def test_a_detector_leaves_its_picture_alone_and_remembers_nothing(detect, astronaut):
    mine = astronaut.copy()
    first = detect(mine)
    assert np.array_equal(mine, astronaut)
    for picture in (np.zeros((9, 700, 3), np.uint8), textures()[0]):
        detect(picture)
    assert detect(mine) == first


def test_eight_threads_share_one_detector(detect, astronaut):
    sizes = [320, 300, 280, 260] * 2
    pictures = [cv2.resize(astronaut, (n, n), interpolation=cv2.INTER_AREA) for n in sizes]
    alone, shared = [detect(picture) for picture in pictures], [None] * 8

    def look(k):
        shared[k] = detect(pictures[k])

    threads = [threading.Thread(target=look, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared == alone


def test_a_small_picture_of_a_face_is_seen(detect, astronaut):
    small = cv2.resize(astronaut[30:230, 130:330], (40, 40), interpolation=cv2.INTER_AREA)
    face, *_ = detect(small)
    assert 0 < face.box[0] + face.box[2] / 2 < 40


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "half", "another network"])
def test_what_is_not_yunet_is_said_so(tiny_model, tmp_path, capfd, kind):
    good = yunet.FILE.read_bytes()
    bodies = {
        "empty": b"",
        "text": b"no network" * 99,
        "half": good[: len(good) // 2],
        "another network": tiny_model.read_bytes(),
    }
    path = tmp_path / "yunet.onnx"
    if kind in bodies:
        path.write_bytes(bodies[kind])
    with pytest.raises(UserError, match=r"is missing|is damaged or not YuNet"):
        yunet.YuNet(path)
    assert capfd.readouterr().err == ""


# Large, wide and tall pictures


@given(st.integers(1, 20000))
@settings(max_examples=100)
def test_tiles_cover_a_side_and_overlap(length):
    spans = yunet.spans(length)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    sizes = {end - start for start, end in spans}
    assert max(sizes) <= yunet.TILE
    assert max(sizes) - min(sizes) <= 1
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end - start >= yunet.TILE_OVERLAP - 2
    assert sum(end - start for start, end in spans) <= length + len(spans) * (
        yunet.TILE_OVERLAP + 1
    )


@pytest.mark.parametrize(
    ("size", "places"),
    [
        ((900, 12000), [(1000, 200), (3500, 200), (6000, 200), (8500, 200)]),
        ((16000, 1080), [(200, 3000)]),
        ((3000, 5000), [(x, y) for x in (0, 2400, 4500) for y in (0, 1300, 2500)]),
    ],
)
def test_faces_of_wide_tall_and_large_pictures_are_found_once(detect, astronaut, size, places):
    head = cv2.resize(astronaut[20:230, 110:330], (480, 460))
    canvas = np.full((*size, 3), 127, np.uint8)
    for x, y in places:
        canvas[y : y + 460, x : x + 480] = head
    found = detect(canvas)
    assert is_sane(found, canvas)
    expected = np.array([(x + 245, y + 215) for x, y in places])
    centres = np.array([(f.box[0] + f.box[2] / 2, f.box[1] + f.box[3] / 2) for f in found])
    assert len(centres) == len(expected)
    distances = np.hypot(*(centres[:, None] - expected[None]).transpose(2, 0, 1))
    assert (distances.min(0) < 40).all()


def test_a_face_that_fills_a_large_picture_is_found_once(detect, astronaut):
    head = cv2.resize(astronaut[20:230, 110:330], (3300, 3150))
    (face,) = detect(head)
    assert 900 < face.box[2] < 1800


def test_up_to_2560_pixels_a_picture_is_looked_at_once(detect, astronaut, monkeypatch):
    looks = []
    monkeypatch.setattr(detect, "_detect", lambda pixels: looks.append(pixels.shape) or [])
    detect(np.zeros((1440, 2560, 3), np.uint8))
    assert looks == [(360, 640, 3)]
    detect(np.zeros((1440, 2600, 3), np.uint8))
    assert looks[1:] == [(354, 640, 3), (360, 650, 3)]


def test_overlapping_boxes_are_one_face():
    box = (0.0, 0.0, 10.0, 10.0)
    sure, less = Detection(box, 0.9), Detection((1.0, 0.0, 10.0, 10.0), 0.8)
    apart = Detection((9.0, 9.0, 10.0, 10.0), 0.7)
    assert non_maximum_suppression([apart, less, sure]) == [sure, apart]


# Tilted heads


@pytest.mark.parametrize("degrees", [-170, -120, -90, -60, -30, 0, 30, 60, 90, 120, 180])
def test_a_tilted_head_is_read_as_the_upright_one(astronaut, degrees):
    analyzer = mien.Analyzer()
    pixels, matrix = turned(astronaut[:300, 70:370], degrees)
    faces = analyzer.analyze(pixels)
    centre = matrix @ (223 - 70, 120, 1)
    face = min(faces, key=lambda f: np.hypot(f.box[0] + f.box[2] / 2 - centre[0],
                                             f.box[1] + f.box[3] / 2 - centre[1]))  # fmt: skip
    assert np.hypot(face.box[0] + face.box[2] / 2 - centre[0],
                    face.box[1] + face.box[3] / 2 - centre[1]) < 30  # fmt: skip
    assert face.emotions["happy"] > 0.9
    assert ("tilted" in face.flags) == (abs(degrees) > 45)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_what_is_found_in_a_quarter_turn_lies_where_it_is(degrees):
    box = (10.0, 20.0, 30.0, 50.0)
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[20:70, 10:40] = 255
    shown = np.rot90(pixels, degrees // 90)
    (top, left), (bottom, right) = (
        np.argwhere(shown[..., 0]).min(0),
        np.argwhere(shown[..., 0]).max(0) + 1,
    )
    there = Detection(tuple(map(float, (left, top, right - left, bottom - top))), 0.9, roll=5.0)
    back = _rotation.rotate_back(there, degrees, (shown.shape[1], shown.shape[0]), (200, 120))
    assert back.box == pytest.approx(box)
    assert (back.roll - 5) % 360 == degrees
    assert back.confidence == 0.9


@pytest.mark.parametrize("degrees", [45, 135, 225, 315])
def test_what_is_found_in_an_eighth_turn_lies_where_it_is(degrees):
    pixels = np.zeros((450, 900, 3), np.uint8)
    pixels[150:170, 250:270] = 255

    def find(shown):
        (top, left), (bottom, right) = (f(np.argwhere(shown[..., 0] > 99)) for f in (_low, _high))
        middle = ((left + right) / 2, (top + bottom) / 2)
        box = (middle[0] - 10, middle[1] - 10, 20.0, 20.0)
        return [Detection(box, 0.9, (middle,) * 5, roll=1.0)]

    (face,) = _rotation._detect_upright(find, Image.fromarray(pixels), degrees)
    x, y, w, h = face.box
    assert (x + w / 2, y + h / 2) == pytest.approx((260, 160), abs=2)
    assert face.landmarks[0] == pytest.approx((260, 160), abs=2)
    assert w == h == pytest.approx(20)
    assert (face.roll - 1) % 360 == degrees


def _low(places):
    return places.min(0)


def _high(places):
    return places.max(0) + 1


def test_an_upright_picture_is_looked_at_once_and_an_empty_one_eight_times():
    shapes, upright = [], [Detection((0.0, 0.0, 9.0, 9.0), 0.9, roll=10.0)]

    def find(faces):
        return lambda pixels: shapes.append(pixels.shape) or list(faces)

    pixels = np.zeros((2000, 4000, 3), np.uint8)
    assert _rotation.detect_rotated(find(upright), pixels) == upright
    assert len(shapes) == 1
    assert _rotation.detect_rotated(find([]), pixels) == []
    assert shapes[1:5] == [(2000, 4000, 3), (900, 450, 3), (450, 900, 3), (900, 450, 3)]
    assert len(shapes) == 9


def test_less_confident_faces_of_rotated_pictures_do_not_count():
    unsure = [Detection((0.0, 0.0, 9.0, 9.0), 0.75, roll=0.0)]
    leaning = [Detection((0.0, 0.0, 9.0, 9.0), 0.95, roll=80.0)]
    for faces in (unsure, leaning):
        first = iter([[]])
        assert (
            _rotation.detect_rotated(
                lambda _, f=faces, n=first: next(n, list(f)), np.zeros((9, 9, 3), np.uint8)
            )
            == []
        )


def test_video_frames_are_never_rotated(astronaut, monkeypatch):
    monkeypatch.setattr(
        _rotation, "detect_rotated", lambda *_: pytest.fail("a video frame was turned")
    )
    analyzer = mien.Analyzer()
    frames = [mien.Frame(np.rot90(astronaut).copy(), "a.mp4", k, k / 25) for k in range(3)]
    assert len(list(analyzer.session().stream(frames))) == 3


def test_a_roll_that_the_detector_gives_is_kept(astronaut):
    known = Detection((178.0, 63.0, 90.0, 113.0), 0.9, roll=123.0)
    (face,) = _roll.RollEstimator()(astronaut, [known], mien.CropGeometry())
    assert face is known


def test_a_detection_takes_lists_and_arrays_and_refuses_what_it_is_not():
    points = np.arange(10.0).reshape(5, 2)
    face = Detection([1, 2, 3, 4], 0.9, points, 5.0)
    assert face.box == (1.0, 2.0, 3.0, 4.0)
    assert face.landmarks[4] == (8.0, 9.0)
    for bad in (
        {"box": (1, 2, 3)}, {"box": (1, 2, 0, 4)}, {"box": (1, np.nan, 3, 4)},
        {"landmarks": points[:2]}, {"roll": float("nan")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"box|landmarks|roll"):
            Detection(**{"box": (1, 2, 3, 4), "confidence": 0.9, **bad})


def test_a_detector_without_geometry_or_threads_is_used_as_it_is(astronaut):
    class Bare:
        name = "bare"

        def __call__(self, pixels):
            return [mien.Detection([178, 63, 90, 113], 0.9)]

    (face,) = mien.Analyzer(detector=Bare()).analyze(astronaut)
    assert face.dominant_emotion == "happy"
