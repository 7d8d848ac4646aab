"""All detectors of the registry: interface, accuracy, tiling, rotation."""

import itertools
import math
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

FACE_REGION = (150, 40, 300, 210)
"""Left, top, right, bottom of a region around the astronaut's face."""


def textures(size=(240, 320)):
    """Images without a face: noise, stripes, blobs, a gradient, a checkerboard, text."""
    rng, (height, width) = np.random.default_rng(0), size
    rows, columns = np.mgrid[:height, :width]
    blobs = cv2.GaussianBlur(rng.integers(0, 256, size, np.uint8), (0, 0), 9)
    text = np.full(size, 255, np.uint8)
    for line in range(20, height, 18):
        cv2.putText(text, "No face here, only text.", (4, line), 0, 0.5, 0)
    gray_images = [
        rng.integers(0, 256, size, np.uint8),
        (128 + 100 * np.sin(columns / 5)).astype(np.uint8),
        cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX),
        (rows * 255 // height).astype(np.uint8),
        ((rows // 16 + columns // 16) % 2 * 255).astype(np.uint8),
        text,
        np.zeros(size, np.uint8),
    ]
    return [cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in gray_images]


def detects_astronaut(detections):
    """Return whether the most confident detection is the astronaut's face, in the original size."""
    (x, y), (*_, width, height) = center(detections[0]), detections[0].box
    left, top, right, bottom = FACE_REGION
    is_inside = left < x < right and top < y < bottom
    has_size = 60 < width < 200 and 60 < height < 200
    return is_inside and has_size and 0.5 <= detections[0].confidence <= 1


def are_valid(detections, pixels):
    """Return whether detections are sorted by confidence, and their boxes touch the image."""
    height, width = pixels.shape[:2]
    confidences = [face.confidence for face in detections]
    return confidences == sorted(confidences, reverse=True) and all(
        np.isfinite(face.box).all()
        and 0 <= face.confidence <= 1
        and min(face.box[2:]) > 0
        and -face.box[2] < face.box[0] < width
        and -face.box[3] < face.box[1] < height
        for face in detections
    )


@pytest.fixture(scope="module")
def detect():
    return yunet.load()


def rotate(pixels, degrees):
    """Rotate an image clockwise on a larger gray background; return it and the (2, 3) matrix."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(height * sin + width * cos), round(height * cos + width * sin)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return cv2.warpAffine(pixels, matrix, size, borderValue=(127, 127, 127)), matrix


def center(face):
    x, y, width, height = face.box
    return x + width / 2, y + height / 2


# All detectors


@pytest.mark.parametrize("name", detection.available())
@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (5, 640), (32, 32), (33, 32), (64, 2000), (10, 30000), (30000, 10)]
)
def test_detectors_accept_images_of_any_size(name, size):
    detect = detection.load(name)
    rng = np.random.default_rng(0)
    for pixels in (np.zeros((*size, 3), np.uint8), rng.integers(0, 256, (*size, 3), np.uint8)):
        assert are_valid(detect(pixels), pixels)


@pytest.mark.parametrize("name", detection.available())
def test_detectors_have_a_name_and_a_geometry(name):
    detect = detection.load(name)
    assert detect.name == name
    assert 0.5 < detect.geometry.size < 2


def test_the_error_for_an_unknown_detector_suggests_the_nearest_name():
    with pytest.raises(UserError, match="'yunet'"):
        detection.load("yunnet")


def test_a_custom_detector_can_be_used(astronaut):
    class CenterDetector:
        name, geometry = "center", mien.CropGeometry()

        def __call__(self, pixels):
            height, width = pixels.shape[:2]
            return [mien.Detection((width / 4, height / 4, width / 2, height / 2), 1.0)]

    (face,) = mien.Analyzer(detector=CenterDetector()).analyze(astronaut)
    assert face.box == (128, 128, 256, 256)
    assert face.landmarks is None
    assert sum(face.emotions.values()) == pytest.approx(1, abs=1e-6)


@given(st.integers(1, 300), st.integers(1, 300))
def test_whole_returns_the_largest_central_square(width, height):
    pixels = np.zeros((height, width, 3), np.uint8)
    (face,) = whole.load()(pixels)
    x, y, w, h = face.box
    assert w == h == min(width, height)
    assert (x, y) == ((width - w) / 2, (height - h) / 2)
    assert (face.confidence, face.roll, face.landmarks) == (1, 0, None)


# YuNet


def test_the_face_is_detected_at_several_sizes(detect, astronaut):
    assert detects_astronaut(detect(astronaut))
    for factor in (0.5, 3):
        size = (round(512 * factor), round(512 * factor))
        faces = detect(cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA))
        assert detects_astronaut([face.scaled(1 / factor) for face in faces])
        assert len(faces) == 1


def test_landmarks_are_at_eyes_nose_and_mouth(detect, astronaut):
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
    left = cv2.resize(astronaut, None, fx=scale, fy=scale * stretch)
    right = cv2.resize(astronaut[:, ::-1], (left.shape[1], left.shape[0]))
    pixels = yunet.pad(np.hstack([left, right]))
    if max(pixels.shape) > 640:
        pixels = yunet.pad(yunet.downscale(pixels, 640 / max(pixels.shape)))
    opencv_detector = cv2.FaceDetectorYN.create(
        str(yunet_file), "", (pixels.shape[1], pixels.shape[0]), yunet.MIN_CONFIDENCE
    )
    _, rows = opencv_detector.detect(np.ascontiguousarray(pixels[..., ::-1]))
    # A row has the box (4 numbers), the landmarks (10) and the confidence.
    rows = sorted(rows.tolist(), key=lambda row: -row[-1])
    faces = detect(pixels)
    assert len(faces) == len(rows) >= 1
    for face, row in zip(faces, rows, strict=True):
        assert iou(face.box, row[:4]) >= 0.98
        assert face.confidence == pytest.approx(row[-1], abs=1e-3)
        assert np.allclose(np.ravel(face.landmarks), row[4:14], atol=0.5)


def test_images_without_faces_have_no_detections(detect):
    assert [detect(image) for image in textures()] == [[]] * len(textures())


def test_a_detector_is_stateless_and_does_not_modify_its_input(detect, astronaut):
    pixels = astronaut.copy()
    first = detect(pixels)
    assert np.array_equal(pixels, astronaut)
    for other in (np.zeros((9, 700, 3), np.uint8), textures()[0]):
        detect(other)
    assert detect(pixels) == first


def test_a_detector_is_thread_safe(detect, astronaut):
    sizes = [320, 300, 280, 260] * 2
    images = [cv2.resize(astronaut, (n, n), interpolation=cv2.INTER_AREA) for n in sizes]
    sequential, parallel = [detect(image) for image in images], [None] * 8

    def run(k):
        parallel[k] = detect(images[k])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel == sequential


def test_a_face_that_fills_a_small_image_is_detected(detect, astronaut):
    small = cv2.resize(astronaut[30:230, 130:330], (40, 40), interpolation=cv2.INTER_AREA)
    face, *_ = detect(small)
    assert 0 < face.box[0] + face.box[2] / 2 < 40


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "half", "another network"])
def test_a_file_that_is_not_yunet_is_an_error(tiny_model, tmp_path, capfd, kind):
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


# Large, wide and tall images


@given(st.integers(1, 20000))
@settings(max_examples=100)
def test_as_few_tiles_as_possible_cover_the_image_and_overlap(length):
    intervals = yunet.tile_intervals(length)
    assert intervals[0][0] == 0
    assert intervals[-1][1] == length
    sizes = {end - start for start, end in intervals}
    assert max(sizes) <= yunet.TILE_SIDE
    assert max(sizes) - min(sizes) <= 1
    for (_, end), (start, _) in itertools.pairwise(intervals):
        assert end - start >= yunet.TILE_OVERLAP - 2  # both ends are rounded
    one_fewer = len(intervals) - 1
    longest_covered = one_fewer * (yunet.TILE_SIDE - yunet.TILE_OVERLAP) + yunet.TILE_OVERLAP
    assert one_fewer == 0 or longest_covered < length


@pytest.mark.parametrize(
    ("size", "positions"),
    [
        ((900, 12000), [(1000, 200), (3500, 200), (6000, 200), (8500, 200)]),
        ((16000, 1080), [(200, 3000)]),
        ((3000, 5000), [(x, y) for x in (0, 2400, 4500) for y in (0, 1300, 2500)]),
    ],
)
def test_faces_of_wide_tall_and_large_images_are_detected_once(detect, astronaut, size, positions):
    head = cv2.resize(astronaut[20:230, 110:330], (480, 460))
    canvas = np.full((*size, 3), 127, np.uint8)
    for x, y in positions:
        canvas[y : y + 460, x : x + 480] = head
    faces = detect(canvas)
    assert are_valid(faces, canvas)
    expected = np.array([(x + 245, y + 215) for x, y in positions])  # the face's center in `head`
    centers = np.array([center(face) for face in faces])
    assert len(centers) == len(expected)
    distances = np.hypot(*(centers[:, None] - expected[None]).transpose(2, 0, 1))
    assert (distances.min(0) < 40).all()


def test_a_face_that_fills_a_large_image_is_detected_once(detect, astronaut):
    head = cv2.resize(astronaut[20:230, 110:330], (3300, 3150))
    (face,) = detect(head)
    assert 900 < face.box[2] < 1800  # the face is about 40 % as wide as `head`


def test_only_images_above_2560_pixels_are_searched_in_tiles(detect, astronaut, monkeypatch):
    shapes = []

    def record_shape(pixels, *_):
        shapes.append(pixels.shape)
        return []

    monkeypatch.setattr(detect, "_detect", record_shape)
    detect(np.zeros((1440, 2560, 3), np.uint8))
    assert shapes == [(360, 640, 3)]
    detect(np.zeros((1440, 2600, 3), np.uint8))
    assert shapes[1:] == [(354, 640, 3), (360, 650, 3)]


def test_non_maximum_suppression_keeps_the_most_confident_of_overlapping_boxes():
    box = (0.0, 0.0, 10.0, 10.0)
    best, duplicate = Detection(box, 0.9), Detection((1.0, 0.0, 10.0, 10.0), 0.8)
    separate = Detection((9.0, 9.0, 10.0, 10.0), 0.7)
    assert non_maximum_suppression([separate, duplicate, best]) == [best, separate]


# Rotated heads


@pytest.mark.parametrize("degrees", [-170, -120, -90, -60, -30, 0, 30, 60, 90, 120, 180])
def test_a_rotated_head_has_the_emotions_of_the_upright_one(astronaut, degrees):
    analyzer = mien.Analyzer()
    pixels, matrix = rotate(astronaut[:300, 70:370], degrees)
    faces = analyzer.analyze(pixels)
    expected = matrix @ (223 - 70, 120, 1)  # the center of the face in the cropped photograph
    face = min(faces, key=lambda face: math.dist(center(face), expected))
    assert math.dist(center(face), expected) < 30
    assert face.emotions["happy"] > 0.9
    assert ("tilted" in face.flags) == (abs(degrees) > 45)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotate_back_inverts_quarter_turns(degrees):
    box = (10.0, 20.0, 30.0, 50.0)
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[20:70, 10:40] = 255
    rotated = np.rot90(pixels, degrees // 90)
    (top, left), (bottom, right) = (
        np.argwhere(rotated[..., 0]).min(0),
        np.argwhere(rotated[..., 0]).max(0) + 1,
    )
    face = Detection(tuple(map(float, (left, top, right - left, bottom - top))), 0.9, roll=5.0)
    size = (rotated.shape[1], rotated.shape[0])
    original = _rotation.rotate_back(face, degrees, size, (200, 120))
    assert original.box == pytest.approx(box)
    assert (original.roll - 5) % 360 == degrees
    assert original.confidence == 0.9


@pytest.mark.parametrize("degrees", [45, 135, 225, 315])
def test_detections_in_eighth_turns_are_mapped_to_the_original(degrees):
    pixels = np.zeros((450, 900, 3), np.uint8)
    pixels[150:170, 250:270] = 255

    def detect_white(rotated):
        white = np.argwhere(rotated[..., 0] > 99)
        (top, left), (bottom, right) = white.min(0), white.max(0) + 1
        x, y = (left + right) / 2, (top + bottom) / 2
        return [Detection((x - 10, y - 10, 20.0, 20.0), 0.9, ((x, y),) * 5, roll=1.0)]

    (face,) = _rotation._detect_upright(detect_white, Image.fromarray(pixels), degrees)
    assert center(face) == pytest.approx((260, 160), abs=2)
    assert face.landmarks[0] == pytest.approx((260, 160), abs=2)
    assert face.box[2:] == pytest.approx((20, 20))
    assert (face.roll - 1) % 360 == degrees


def test_an_upright_face_needs_one_detection_and_an_image_without_faces_eight():
    shapes, upright = [], [Detection((0.0, 0.0, 9.0, 9.0), 0.9, roll=10.0)]

    def detector(faces):
        def detect(pixels):
            shapes.append(pixels.shape)
            return faces

        return detect

    pixels = np.zeros((2000, 4000, 3), np.uint8)
    assert _rotation.detect_rotated(detector(upright), pixels) == upright
    assert len(shapes) == 1
    assert _rotation.detect_rotated(detector([]), pixels) == []
    original, *quarter_turns = shapes[1:5]
    assert original == (2000, 4000, 3)
    assert quarter_turns == [(900, 450, 3), (450, 900, 3), (900, 450, 3)]  # downscaled
    assert len(shapes) == 1 + 8


def test_less_confident_or_tilted_faces_of_rotated_images_are_dropped():
    less_confident = Detection((0.0, 0.0, 9.0, 9.0), 0.75, roll=0.0)
    tilted = Detection((0.0, 0.0, 9.0, 9.0), 0.95, roll=80.0)
    original, rotated = [[]], [[less_confident, tilted]] * 7
    detections = iter(original + rotated)
    pixels = np.zeros((9, 9, 3), np.uint8)
    assert _rotation.detect_rotated(lambda _: next(detections), pixels) == []
    assert list(detections) == []


def test_video_frames_are_never_rotated(astronaut, monkeypatch):
    monkeypatch.setattr(
        _rotation, "detect_rotated", lambda *_: pytest.fail("a video frame was rotated")
    )
    analyzer = mien.Analyzer()
    frames = [mien.Frame(np.rot90(astronaut).copy(), "a.mp4", k, k / 25) for k in range(3)]
    assert len(list(analyzer.session().stream(frames))) == 3


def test_the_roll_of_the_detector_is_kept(astronaut):
    with_roll = Detection((178.0, 63.0, 90.0, 113.0), 0.9, roll=123.0)
    (face,) = _roll.RollEstimator()(astronaut, [with_roll], mien.CropGeometry())
    assert face is with_roll


def test_a_detection_accepts_sequences_and_rejects_invalid_fields():
    points = np.arange(10.0).reshape(5, 2)
    face = Detection([1, 2, 3, 4], 0.9, points, 5.0)
    assert face.box == (1.0, 2.0, 3.0, 4.0)
    assert face.landmarks[4] == (8.0, 9.0)
    for invalid in (
        {"box": (1, 2, 3)}, {"box": (1, 2, 0, 4)}, {"box": (1, np.nan, 3, 4)},
        {"landmarks": points[:2]}, {"roll": float("nan")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"box|landmarks|roll"):
            Detection(**{"box": (1, 2, 3, 4), "confidence": 0.9, **invalid})


def test_a_detector_without_geometry_can_be_used(astronaut):
    class MinimalDetector:
        name = "minimal"

        def __call__(self, pixels):
            return [mien.Detection([178, 63, 90, 113], 0.9)]

    (face,) = mien.Analyzer(detector=MinimalDetector()).analyze(astronaut)
    assert face.dominant_emotion == "happy"
