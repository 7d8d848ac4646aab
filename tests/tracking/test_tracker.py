"""Tracker, smoother, summaries, detection schedule and interpolation."""

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.results import Detection, Face
from mien.tracking.appearance import COARSE_MARGIN, COARSE_SIDE, Appearance
from mien.tracking.frame_interval import MAX_AGE_SECONDS
from mien.tracking.interpolation import interpolate
from mien.tracking.schedule import DetectionSchedule
from mien.tracking.smoothing import Smoother
from mien.tracking.summaries import Summaries
from mien.tracking.tracker import Tracker

SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda raw: dict(zip("abc", (np.array(raw) / sum(raw)).tolist(), strict=True))
)


def face(face_id=0, emotions=None, **more):
    return Face((0, 0, 10, 10), 0.9, emotions or {"a": 0.5, "b": 0.5}, face_id, **more)


def draw_image(*squares, size=(200, 400)):
    """A gray image with a square at each (x, y, width, direction).

    A square becomes brighter to the right, the bottom or the left if its direction is 0, 1 or 2.
    """
    pixels = np.full((*size, 3), 128, np.uint8)
    for x, y, w, direction in squares:
        ramp = np.linspace(0, 255, w).astype(np.uint8)
        to_right = np.tile(ramp, (w, 1))
        gradient = (to_right, to_right.T, to_right[:, ::-1])[direction]
        pixels[y : y + w, x : x + w] = gradient[..., None]
    return pixels


@pytest.mark.parametrize("width", [16, 100, 300, 560])
def test_the_coarse_thumbnail_is_area_resized(width):
    rng = np.random.default_rng(0)
    blocks = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (700, 700))
    pixels = (blocks * 0.9 + rng.integers(0, 25, blocks.shape)).astype(np.uint8)
    margin = round(COARSE_MARGIN * width)
    expected = cv2.resize(
        pixels[: width + margin, : width + margin],
        (COARSE_SIDE, COARSE_SIDE),
        interpolation=cv2.INTER_AREA,
    )
    expected = expected.astype(np.float32).mean(2).ravel()
    actual = Appearance.of(pixels, (0, 0, width, width)).coarse.ravel()
    assert np.corrcoef(actual, expected)[0, 1] > 0.99


def test_a_moving_face_keeps_its_id():
    tracker = Tracker()
    for k in range(50):
        x = 10 + 6 * k
        assert tracker.update(draw_image((x, 50, 40, 0)), k / 25, [(x, 50, 40, 40)]) == [0]


def test_faces_that_cross_keep_their_ids():
    tracker = Tracker()
    for k in range(60):
        one, other = 10 + 5 * k, 310 - 5 * k
        pixels = draw_image((one, 40, 40, 0), (other, 60, 40, 1))
        ids = tracker.update(pixels, k / 25, [(one, 40, 40, 40), (other, 60, 40, 40)])
        assert ids == [0, 1]


def test_faces_keep_their_ids_when_the_size_of_the_frames_changes():
    tracker = Tracker()
    for k in range(40):
        scale = (1, 0.5, 2, 0.25)[k // 10]
        squares = [(round((20 + 3 * k) * scale), round(50 * scale), round(40 * scale), 0),
                   (round(250 * scale), round(100 * scale), round(40 * scale), 1)]  # fmt: skip
        pixels = draw_image(*squares, size=(round(200 * scale), round(400 * scale)))
        assert tracker.add_frame(pixels, k / 25) == (k % 10 == 0 and k > 0)
        assert tracker.update(pixels, k / 25, [(x, y, w, w) for x, y, w, _ in squares]) == [0, 1]
        state = json.loads(json.dumps(tracker.state()))
        tracker = Tracker()
        tracker.restore(state)


def test_ids_do_not_depend_on_the_order_of_boxes():
    tracker = Tracker()
    pixels = draw_image((10, 50, 40, 0), (200, 50, 40, 1))
    boxes = [(10, 50, 40, 40), (200, 50, 40, 40)]
    assert tracker.update(pixels, 0.0, boxes) == [0, 1]
    assert tracker.update(pixels, 0.1, boxes[::-1]) == [1, 0]


@pytest.mark.parametrize(
    ("gap", "same"), [(0.5 * MAX_AGE_SECONDS, True), (1.5 * MAX_AGE_SECONDS, False)]
)
def test_an_undetected_face_keeps_its_id_until_the_maximum_age(gap, same):
    tracker = Tracker()
    pixels, box = draw_image((100, 50, 40, 0)), (100, 50, 40, 40)
    tracker.update(pixels, 0.0, [box])
    for k in range(1, int(gap * 25)):
        assert tracker.update(pixels, k / 25, []) == []
    assert tracker.update(pixels, gap, [box]) == [0 if same else 1]


def test_a_face_that_leaves_the_image_keeps_its_id_at_the_border():
    tracker = Tracker()
    for k in range(25):
        x = 250 + 6 * k
        tracker.update(draw_image((250, 50, 40, 0)), k / 25, [(x, 50, 40, 40)])
    back = tracker.update(draw_image((250, 50, 40, 0)), 1.8, [(370, 50, 40, 40)])
    assert back == [0]


def test_a_fast_face_that_leaves_and_returns_keeps_its_id():
    tracker, ids = Tracker(), set()
    for k in range(21):
        x = 490 - 29 * abs(k - 10)  # six widths a second; beyond 380 it is mostly outside the image
        boxes = [(x, 50, 40, 40)] if x < 380 else []
        ids |= set(tracker.update(draw_image((100, 50, 40, 0)), 0.12 * k, boxes))
    assert ids == {0}


@pytest.mark.parametrize("every", [0.04, 0.12, 0.24, 0.48])
def test_faces_that_cross_keep_their_ids_at_any_detection_interval(every):
    tracker = Tracker()
    for seconds in np.arange(0, 3.4, every):
        one, other = 10 + round(90 * seconds), 330 - round(90 * seconds)
        pixels = draw_image((one, 40, 40, 0), (other, 60, 40, 1))
        ids = tracker.update(pixels, seconds, [(one, 40, 40, 40), (other, 60, 40, 40)])
        assert ids == [0, 1]


@pytest.mark.parametrize("every", [1.0, 2.0, 10.0])
def test_a_face_keeps_its_id_if_frames_are_far_apart(every):
    tracker, summaries = Tracker(), Summaries()
    pixels, box = draw_image((100, 50, 40, 0)), (100, 50, 40, 40)
    for k in range(6):
        assert tracker.update(pixels, k * every, [box] if k != 3 else []) == [0] * (k != 3)
        summaries.add(k * every, [face(0)] if k != 3 else [])
    assert summaries.records()[0]["on_screen"] == 5 * every


def test_a_single_pause_does_not_change_the_maximum_age():
    tracker = Tracker()
    pixels, box = draw_image((100, 50, 40, 0)), (100, 50, 40, 40)
    for seconds in (0.0, 0.1, 0.2, 20.2):
        (last,) = tracker.update(pixels, seconds, [box])
    assert last == 1


@pytest.mark.parametrize("interval", [0.02, 0.04, 0.1])
def test_a_face_that_is_replaced_in_place_gets_a_new_id(interval):
    tracker, ids = Tracker(), []
    for k in range(10):
        pixels, box = draw_image((100, 50, 40, int(k >= 5))), (100, 50, 40, 40)
        assert tracker.add_frame(pixels, k * interval) == (k == 5)
        ids += tracker.update(pixels, k * interval, [box])
    assert ids == [0] * 5 + [1] * 5


def track_sequence(*images):
    """Track a face in 25 images per second; return its id, or None in images of one color."""
    tracker, box, found = Tracker(), (100, 50, 40, 40), []
    for k, image in enumerate(images):
        is_visible = image.std() > 0
        tracker.add_frame(image, k / 25)
        ids = tracker.update(image, k / 25, [box] if is_visible else [])
        found.append(ids[0] if ids else None)
    return found


def test_a_third_person_at_the_same_place_does_not_get_the_id_of_the_first():
    images = [draw_image((100, 50, 40, person)) for person in (0, 1, 2) for _ in range(20)]
    assert track_sequence(*images) == [0] * 20 + [1] * 20 + [2] * 20


@pytest.mark.parametrize("hidden", ["black", "white", "empty"])
@pytest.mark.parametrize("count", [3, 10, 25])
@pytest.mark.parametrize("person", [0, 1])
def test_a_face_after_hidden_frames_has_a_new_id_if_it_is_of_another_person(hidden, count, person):
    images = {
        "black": np.zeros((200, 400, 3), np.uint8),
        "white": np.full((200, 400, 3), 255, np.uint8),
        "empty": draw_image(),
    }
    before, after = draw_image((100, 50, 40, 0)), draw_image((100, 50, 40, person))
    ids = track_sequence(*[before] * 20, *[images[hidden]] * count, *[after] * 20)
    assert ids == [0] * 20 + [None] * count + [person] * 20


def dissolve(seconds, begin=2.0, end=5.0):
    """Frames, each with its time, in which one face dissolves into another."""
    one, other = (draw_image((100, 50, 40, d)).astype(float) for d in (0, 1))
    for k in range(round(end * 25)):
        weight = np.clip((k / 25 - begin) / seconds, 0, 1)
        yield ((1 - weight) * one + weight * other).astype(np.uint8), k / 25


@pytest.mark.parametrize("seconds", [0.4, 0.6, 1.0, 1.5, 2.0])
def test_a_face_that_dissolves_into_another_has_one_new_id_by_the_end(seconds):
    tracker, box, ids = Tracker(), (100, 50, 40, 40), {}
    for pixels, t in dissolve(seconds):
        tracker.add_frame(pixels, t)
        (ids[t],) = tracker.update(pixels, t, [box])
        state = json.loads(json.dumps(tracker.state()))
        tracker = Tracker()
        tracker.restore(state)
    assert {k for t, k in ids.items() if t <= 2} == {0}
    assert {k for t, k in ids.items() if t >= 2 + seconds} == {1}


def test_a_face_in_changing_light_keeps_its_id():
    tracker, box = Tracker(), (100, 50, 40, 40)
    evenly_lit = draw_image((100, 50, 40, 0)).astype(float)
    from_left = np.linspace(1, 0.3, 40)[:, None]
    for k in range(75):
        pixels = evenly_lit.copy()
        # The light moves from the left to the right within a second; frame 50 is a flash.
        weight = np.clip((k - 10) / 25, 0, 1)
        pixels[50:90, 100:140] *= (1 - weight) * from_left + weight * from_left[::-1]
        pixels = np.clip(4 * pixels + 60 if k == 50 else pixels, 0, 255).astype(np.uint8)
        tracker.add_frame(pixels, k / 25)
        assert tracker.update(pixels, k / 25, [box]) == [0]


def test_a_face_behind_a_hand_keeps_its_id():
    tracker, box = Tracker(), (100, 50, 40, 40)
    for k in range(20):
        pixels = draw_image((100, 50, 40, 0))
        pixels[50 : 50 + min(40, 4 * k), 100:140] = 150, 110, 90
        tracker.add_frame(pixels, k / 25)
        assert tracker.update(pixels, k / 25, [box]) == [0]


def test_a_distant_face_gets_a_new_id():
    tracker = Tracker()
    pixels = draw_image((10, 50, 40, 0))
    assert tracker.update(pixels, 0.0, [(10, 50, 40, 40)]) == [0]
    assert tracker.update(pixels, 0.04, [(300, 50, 40, 40)]) == [1]


def test_a_jump_back_in_time_starts_new_tracks_and_ids_are_not_reused():
    tracker = Tracker()
    pixels, box = draw_image((100, 50, 40, 0)), (100, 50, 40, 40)
    assert tracker.update(pixels, 5.0, [box]) == [0]
    assert tracker.update(pixels, 0.0, [box]) == [1]


@given(
    st.lists(
        st.lists(st.tuples(*(st.floats(-100, 500),) * 2, *(st.floats(0, 300),) * 2), max_size=5),
        max_size=8,
    )
)
def test_the_ids_of_a_frame_are_unique(frames):
    tracker = Tracker()
    pixels = draw_image((100, 50, 40, 0))
    for k, boxes in enumerate(frames):
        ids = tracker.update(pixels, k / 10, boxes)
        assert len(set(ids)) == len(boxes)


# Smoothing


def test_after_one_time_constant_63_percent_of_a_change_is_followed():
    smooth = Smoother(time_constant=0.5)
    smooth(0.0, [face(emotions={"a": 1.0, "b": 0.0})])
    for k in range(1, 51):
        (now,) = smooth(k * 0.01, [face(emotions={"a": 0.0, "b": 1.0})])
    assert now.smoothed["b"] == pytest.approx(1 - math.exp(-1))
    assert now.emotions["b"] == 1.0


@given(st.lists(st.tuples(st.floats(0, 0.5), SHARES), min_size=1, max_size=30), st.floats(0, 3))
def test_smoothed_emotions_sum_to_one_and_are_not_below_all_earlier_shares(steps, constant):
    smooth, seconds = Smoother(constant), 0.0
    low = dict.fromkeys("abc", 1.0)
    for since, shares in steps:
        seconds += since
        low = {name: min(low[name], shares[name]) for name in low}
        (now,) = smooth(seconds, [face(emotions=shares)])
        assert sum(now.smoothed.values()) == pytest.approx(1, abs=1e-6)
        assert all(now.smoothed[name] >= low[name] - 1e-9 for name in low)
        if constant == 0:
            assert now.smoothed == shares


@given(st.integers(1, 20))
def test_smoothing_does_not_depend_on_the_frame_rate(parts):
    coarse, fine = Smoother(0.5), Smoother(0.5)
    start, then = {"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}
    coarse(0.0, [face(emotions=start)])
    fine(0.0, [face(emotions=start)])
    (one,) = coarse(0.4, [face(emotions=then)])
    for k in range(1, parts + 1):
        (other,) = fine(0.4 * k / parts, [face(emotions=then)])
    assert one.smoothed["a"] == pytest.approx(other.smoothed["a"])


def test_faces_are_smoothed_separately_and_start_anew_after_a_long_absence():
    smooth = Smoother(0.5)
    smooth(0.0, [face(0, {"a": 1.0, "b": 0.0}), face(1, {"a": 0.0, "b": 1.0})])
    zero, one = smooth(0.1, [face(0, {"a": 1.0, "b": 0.0}), face(1, {"a": 0.0, "b": 1.0})])
    assert zero.smoothed["a"] == one.smoothed["b"] == 1.0
    (late,) = smooth(60.0, [face(0, {"a": 0.0, "b": 1.0})])
    assert late.smoothed["b"] == 1.0


# Summaries


def test_summaries_are_weighted_by_time():
    summaries = Summaries()
    for seconds, a in ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (1.0, 0.0)):
        summaries.add(seconds, [face(3, {"a": a, "b": 1 - a})])
    (record,) = summaries.records()
    assert record["face_id"] == 3
    assert (record["first"], record["last"]) == (0.0, 1.0)
    assert record["on_screen"] == pytest.approx(1.0)
    assert record["mean_shares"]["b"] == pytest.approx(0.8, abs=0.01)
    assert record["changes"] == 1
    assert record["dominant_emotion"] == "b"


def test_absences_do_not_count_as_time_on_screen():
    summaries = Summaries()
    for seconds in (0.0, 0.5, 10.0, 10.5):
        summaries.add(seconds, [face()])
    (record,) = summaries.records()
    assert record["on_screen"] == pytest.approx(1.0)
    assert record["frames"] == 4


def test_summaries_are_sorted_by_time_on_screen():
    summaries = Summaries()
    for k in range(10):
        summaries.add(k / 10, [face(0), *([face(1)] if k < 3 else [])])
    assert [r["face_id"] for r in summaries.records()] == [0, 1]
    assert [r["face_id"] for r in summaries.records(min_seconds=0.5)] == [0]


# Detection schedule and interpolation


def test_detection_is_due_when_too_many_pixels_are_pending():
    schedule, times = DetectionSchedule(), [k * 1e-6 for k in range(40)]
    # Two of these frames have more than MAX_PENDING_PIXELS.
    due = [schedule.is_due(seconds, 8000, 5000) for seconds in times]
    assert due == [True, *[False, True] * 19, False]
    small = DetectionSchedule()
    assert [small.is_due(seconds, 640, 480) for seconds in times] == [True, *[False] * 39]


def test_a_replayed_schedule_continues_like_the_original():
    times = [k / 100 for k in range(60)]
    original, replayed = DetectionSchedule(), DetectionSchedule()
    due = [original.is_due(seconds, 5000, 4000) for seconds in times]
    for seconds, detected in zip(times[:37], due[:37], strict=True):
        replayed.replay(seconds, 5000, 4000, detected=detected)
    assert [replayed.is_due(seconds, 5000, 4000) for seconds in times[37:]] == due[37:]


def test_detections_are_interpolated_linearly():
    points = tuple((float(k), 2.0) for k in range(5))
    moved = tuple((float(k) + 4, 4.0) for k in range(5))
    earlier = {
        0: Detection((0.0, 0.0, 10.0, 10.0), 0.9, points, 7.0),
        1: Detection((5.0, 5.0, 5.0, 5.0), 0.8),
    }
    later = {0: Detection((10.0, 20.0, 20.0, 10.0), 0.7, moved, 9.0)}
    assert interpolate(earlier, later, 0.5) == {
        0: Detection((5.0, 10.0, 15.0, 10.0), 0.9, tuple((k + 2.0, 3.0) for k in range(5)), 7.0)
    }
    later = {0: Detection((10.0, 20.0, 20.0, 10.0), 0.7)}
    assert interpolate(earlier, later, 0.5)[0].landmarks is None
