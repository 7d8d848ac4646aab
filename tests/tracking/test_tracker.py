"""Who is who over frames, and what they show."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.results import Detection, Face
from mien.tracking.schedule import DetectionSchedule, between
from mien.tracking.smoothing import Smoother
from mien.tracking.summaries import Summaries
from mien.tracking.tracker import LOOK, MAX_AGE_SECONDS, Tracker, _look

SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda raw: dict(zip("abc", (np.array(raw) / sum(raw)).tolist(), strict=True))
)


def face(face_id=0, emotions=None, **more):
    return Face((0, 0, 10, 10), 0.9, emotions or {"a": 0.5, "b": 0.5}, face_id, **more)


def picture(*marks, size=(200, 400)):
    """Grey, with a face-like square of its own brightness pattern at each (x, y, w, shade)."""
    pixels = np.full((*size, 3), 128, np.uint8)
    for x, y, w, shade in marks:
        ramp = np.linspace(0, 255, w).astype(np.uint8)
        own = np.tile(ramp, (w, 1)) if shade == 0 else np.tile(ramp[:, None], (1, w))
        pixels[y : y + w, x : x + w] = own[..., None]
    return pixels


@pytest.mark.parametrize("width", [16, 100, 300, 700])
def test_an_appearance_is_the_mean_of_areas(width):
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (700, 700))
    pixels = (coarse * 0.9 + rng.integers(0, 25, coarse.shape)).astype(np.uint8)
    wanted = cv2.resize(pixels[:width, :width], (LOOK, LOOK), interpolation=cv2.INTER_AREA)
    wanted = wanted.astype(np.float32).mean(2)
    assert np.corrcoef(_look(pixels, (0, 0, width, width)).ravel(), wanted.ravel())[0, 1] > 0.99


def test_a_moving_face_keeps_its_id():
    tracker = Tracker()
    for k in range(50):
        x = 10 + 6 * k
        assert tracker.follow(picture((x, 50, 40, 0)), k / 25, [(x, 50, 40, 40)]) == [0]


def test_faces_that_cross_keep_their_ids():
    tracker = Tracker()
    for k in range(60):
        one, other = 10 + 5 * k, 310 - 5 * k
        pixels = picture((one, 40, 40, 0), (other, 60, 40, 1))
        ids = tracker.follow(pixels, k / 25, [(one, 40, 40, 40), (other, 60, 40, 40)])
        assert ids == [0, 1]


def test_the_order_of_boxes_means_nothing():
    tracker = Tracker()
    pixels = picture((10, 50, 40, 0), (200, 50, 40, 1))
    boxes = [(10, 50, 40, 40), (200, 50, 40, 40)]
    assert tracker.follow(pixels, 0.0, boxes) == [0, 1]
    assert tracker.follow(pixels, 0.1, boxes[::-1]) == [1, 0]


@pytest.mark.parametrize(
    ("gap", "same"), [(0.5 * MAX_AGE_SECONDS, True), (1.5 * MAX_AGE_SECONDS, False)]
)
def test_a_face_that_is_missed_keeps_its_id_for_a_while(gap, same):
    tracker = Tracker()
    pixels, box = picture((100, 50, 40, 0)), (100, 50, 40, 40)
    tracker.follow(pixels, 0.0, [box])
    for k in range(1, int(gap * 25)):
        assert tracker.follow(pixels, k / 25, []) == []
    assert tracker.follow(pixels, gap, [box]) == [0 if same else 1]


def test_who_leaves_at_the_edge_comes_back_there():
    tracker = Tracker()
    for k in range(25):
        x = 250 + 6 * k
        tracker.follow(picture((250, 50, 40, 0)), k / 25, [(x, 50, 40, 40)])
    back = tracker.follow(picture((250, 50, 40, 0)), 1.8, [(370, 50, 40, 40)])
    assert back == [0]


def test_who_rushes_out_and_in_again_is_the_same():
    tracker, ids = Tracker(), set()
    for k in range(21):
        x = 490 - 29 * abs(k - 10)  # six widths a second; beyond 380 too little is to be seen
        boxes = [(x, 50, 40, 40)] if x < 380 else []
        ids |= set(tracker.follow(picture((100, 50, 40, 0)), 0.12 * k, boxes))
    assert ids == {0}


@pytest.mark.parametrize("every", [0.04, 0.12, 0.24, 0.48])
def test_faces_that_cross_keep_their_ids_however_seldom_they_are_looked_for(every):
    tracker = Tracker()
    for seconds in np.arange(0, 3.4, every):
        one, other = 10 + round(90 * seconds), 330 - round(90 * seconds)
        pixels = picture((one, 40, 40, 0), (other, 60, 40, 1))
        ids = tracker.follow(pixels, seconds, [(one, 40, 40, 40), (other, 60, 40, 40)])
        assert ids == [0, 1]


@pytest.mark.parametrize("every", [1.0, 2.0, 10.0])
def test_who_is_looked_for_seldom_is_still_the_same(every):
    tracker, sums = Tracker(), Summaries()
    pixels, box = picture((100, 50, 40, 0)), (100, 50, 40, 40)
    for k in range(6):
        assert tracker.follow(pixels, k * every, [box] if k != 3 else []) == [0] * (k != 3)
        sums.add(k * every, [face(0)] if k != 3 else [])
    assert sums.records()[0]["on_screen"] == 5 * every


def test_one_long_pause_makes_nobody_patient():
    tracker = Tracker()
    pixels, box = picture((100, 50, 40, 0)), (100, 50, 40, 40)
    for seconds in (0.0, 0.1, 0.2, 20.2):
        (last,) = tracker.follow(pixels, seconds, [box])
    assert last == 1


def test_a_face_far_away_is_another():
    tracker = Tracker()
    pixels = picture((10, 50, 40, 0))
    assert tracker.follow(pixels, 0.0, [(10, 50, 40, 40)]) == [0]
    assert tracker.follow(pixels, 0.04, [(300, 50, 40, 40)]) == [1]


def test_another_file_starts_afresh_and_uses_no_id_again():
    tracker = Tracker()
    pixels, box = picture((100, 50, 40, 0)), (100, 50, 40, 40)
    assert tracker.follow(pixels, 5.0, [box]) == [0]
    assert tracker.follow(pixels, 0.0, [box]) == [1]


@given(
    st.lists(
        st.lists(st.tuples(*(st.floats(-100, 500),) * 2, *(st.floats(0, 300),) * 2), max_size=5),
        max_size=8,
    )
)
def test_any_boxes_get_ids_that_are_all_different(frames):
    tracker = Tracker()
    pixels = picture((100, 50, 40, 0))
    for k, boxes in enumerate(frames):
        ids = tracker.follow(pixels, k / 10, boxes)
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
def test_smoothed_emotions_are_shares(steps, constant):
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
def test_smoothing_goes_by_the_clock_and_not_by_frames(parts):
    coarse, fine = Smoother(0.5), Smoother(0.5)
    start, then = {"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}
    coarse(0.0, [face(emotions=start)])
    fine(0.0, [face(emotions=start)])
    (one,) = coarse(0.4, [face(emotions=then)])
    for k in range(1, parts + 1):
        (other,) = fine(0.4 * k / parts, [face(emotions=then)])
    assert one.smoothed["a"] == pytest.approx(other.smoothed["a"])


def test_faces_are_smoothed_apart_and_long_gone_ones_forgotten():
    smooth = Smoother(0.5)
    smooth(0.0, [face(0, {"a": 1.0, "b": 0.0}), face(1, {"a": 0.0, "b": 1.0})])
    zero, one = smooth(0.1, [face(0, {"a": 1.0, "b": 0.0}), face(1, {"a": 0.0, "b": 1.0})])
    assert zero.smoothed["a"] == one.smoothed["b"] == 1.0
    (late,) = smooth(60.0, [face(0, {"a": 0.0, "b": 1.0})])
    assert late.smoothed["b"] == 1.0


# Summaries


def test_a_summary_is_weighted_by_time():
    summaries = Summaries()
    for seconds, a in ((0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (1.0, 0.0)):
        summaries.add(seconds, [face(3, {"a": a, "b": 1 - a})])
    (record,) = summaries.records()
    assert record["face_id"] == 3
    assert (record["first"], record["last"]) == (0.0, 1.0)
    assert record["on_screen"] == pytest.approx(1.0)
    assert record["emotions"]["b"] == pytest.approx(0.8, abs=0.01)
    assert record["changes"] == 1
    assert record["dominant_emotion"] == "b"


def test_time_off_the_screen_does_not_count():
    summaries = Summaries()
    for seconds in (0.0, 0.5, 10.0, 10.5):
        summaries.add(seconds, [face()])
    (record,) = summaries.records()
    assert record["on_screen"] == pytest.approx(1.0)
    assert record["frames"] == 4


def test_the_longest_seen_comes_first():
    summaries = Summaries()
    for k in range(10):
        summaries.add(k / 10, [face(0), *([face(1)] if k < 3 else [])])
    assert [r["face_id"] for r in summaries.records()] == [0, 1]
    assert [r["face_id"] for r in summaries.records(at_least=0.5)] == [0]


def test_faces_are_looked_for_before_too_many_pixels_wait():
    looks, tiny_ticks = DetectionSchedule(), [k * 1e-6 for k in range(40)]
    looked = [looks.is_due(seconds, 8000, 5000) for seconds in tiny_ticks]
    assert looked == [True, *[False, True] * 19, False]
    small = DetectionSchedule()
    assert [small.is_due(seconds, 640, 480) for seconds in tiny_ticks] == [True, *[False] * 39]


def test_looks_go_on_as_if_they_had_never_stopped():
    times = [k / 100 for k in range(60)]
    whole, again = DetectionSchedule(), DetectionSchedule()
    looked = [whole.is_due(seconds, 5000, 4000) for seconds in times]
    for seconds, known in zip(times[:37], looked[:37], strict=True):
        again.replay(seconds, 5000, 4000, detected=known)
    assert [again.is_due(seconds, 5000, 4000) for seconds in times[37:]] == looked[37:]


def test_faces_between_two_detections_lie_on_the_way():
    points = tuple((float(k), 2.0) for k in range(5))
    there = tuple((float(k) + 4, 4.0) for k in range(5))
    earlier = {
        0: Detection((0.0, 0.0, 10.0, 10.0), 0.9, points, 7.0),
        1: Detection((5.0, 5.0, 5.0, 5.0), 0.8),
    }
    later = {0: Detection((10.0, 20.0, 20.0, 10.0), 0.7, there, 9.0)}
    assert between(earlier, later, 0.5) == {
        0: Detection((5.0, 10.0, 15.0, 10.0), 0.9, tuple((k + 2.0, 3.0) for k in range(5)), 7.0)
    }
    later = {0: Detection((10.0, 20.0, 20.0, 10.0), 0.7)}
    assert between(earlier, later, 0.5)[0].landmarks is None
