"""One video's faces, frame by frame: ids, smoothing, and going on from a state."""

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mien as package
from mien.errors import UserError
from mien.results import Frame

SIDE = 24


class Marked:
    """Finds the square textures that `scene` has painted, by the colour of their corners."""

    name, geometry = "marked", package.CropGeometry()

    def __call__(self, pixels):
        found = np.argwhere((pixels == (255, 0, 255)).all(2))
        return [package.Detection((float(x), float(y), SIDE, SIDE), 0.9) for y, x in found]


def scene(places, seed=0):
    """(90, 160, 3) uint8 with a different texture at each place that is not None."""
    pixels = np.full((90, 160, 3), 80, np.uint8)
    for who, place in enumerate(places):
        if place is None:
            continue
        x, y = place
        texture = np.random.default_rng((seed, who)).integers(0, 250, (SIDE, SIDE, 3), np.uint8)
        texture[0, 0] = 255, 0, 255
        pixels[y : y + SIDE, x : x + SIDE] = texture
    return pixels


def walk(count, seed):
    """Frames in which two faces walk towards each other; one leaves at times. With their times."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.uniform(0.02, 0.3, count))
    away = rng.random(count) < 0.2
    return [
        (scene([(5 + k % 50, 10), None if away[k] else (130 - k % 50, 50)], k), float(seconds[k]))
        for k in range(count)
    ]


def as_dicts(results):
    return [result.to_dict() for result in results]


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return package.Analyzer(str(tiny_model), Marked())


def test_faces_keep_their_ids_and_are_smoothed(analyzer):
    session = analyzer.session(smoothing=0.5)
    results = [session.update(*frame) for frame in walk(30, 1)]
    assert {face.face_id for result in results for face in result} == {0, 1}
    assert [result.frame.number for result in results] == list(range(30))
    first, *_, last = (face for result in results for face in result if face.face_id == 0)
    assert first.smoothed == pytest.approx(first.emotions)
    assert last.smoothed != pytest.approx(last.emotions, abs=1e-6)
    assert sum(last.smoothed.values()) == pytest.approx(1)


@given(st.integers(0, 100), st.integers(1, 14), st.sampled_from([0.0, 0.3, 2.0]))
@settings(max_examples=25)
def test_a_state_goes_on_as_if_there_had_been_no_stop(analyzer, seed, stop, smoothing):
    frames = walk(15, seed)
    whole = analyzer.session(smoothing)
    expected = as_dicts(whole.update(*frame) for frame in frames)
    first = analyzer.session(smoothing)
    found = as_dicts(first.update(*frame) for frame in frames[:stop])
    second = analyzer.session(state=json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.state() == first.state()
    found += as_dicts(second.update(*frame) for frame in frames[stop:])
    assert found == expected


def test_a_state_that_nothing_was_seen_in_is_one(analyzer):
    state = json.loads(json.dumps(analyzer.session().state(), allow_nan=False))
    frames = walk(5, 3)
    resumed = analyzer.session(state=state)
    found = as_dicts(resumed.update(*frame) for frame in frames)
    session = analyzer.session()
    assert found == as_dicts(session.update(*frame) for frame in frames)


def test_a_session_forgets_who_is_gone(analyzer):
    session = analyzer.session()
    session.update(*walk(1, 0)[0])
    assert len(session.state()["tracker"]["tracks"]) == 2
    empty = scene([])
    for seconds in (1.0, 2.0, 3.0, 4.0):
        session.update(empty, seconds)
    state = session.state()
    assert (state["tracker"]["tracks"], state["smoother"]["faces"]) == ([], [])


def test_a_smoothing_of_its_own_goes_before_that_of_the_state(analyzer):
    state = analyzer.session(smoothing=3).state()
    assert analyzer.session(state=state).state()["smoother"]["time_constant"] == 3
    assert analyzer.session(1, state=state).state()["smoother"]["time_constant"] == 1


@pytest.mark.parametrize("state", [{}, {"model": "x"}, [], 3, {"model": "x", "labels": None}])
def test_what_is_no_state_is_one_sentence(analyzer, state):
    with pytest.raises(UserError, match="not the state of a session"):
        analyzer.session(state=state)


def test_a_state_does_not_go_on_with_another_model(analyzer, tiny_model):
    other = package.Analyzer(str(tiny_model), Marked(), contempt=True)
    with pytest.raises(UserError, match="with tiny and 7 emotions, this one has tiny and 8"):
        other.session(state=analyzer.session().state())


@pytest.mark.parametrize("smoothing", [-1, float("nan"), float("inf")])
def test_a_smoothing_that_is_no_time_is_refused(analyzer, smoothing):
    with pytest.raises(UserError, match="smoothing is a number of seconds"):
        analyzer.session(smoothing)


def test_pixels_that_are_none_are_refused_and_the_session_goes_on(analyzer):
    session = analyzer.session()
    with pytest.raises(UserError, match="uint8"):
        session.update(np.zeros((9, 9, 3)), 0.0)
    assert session.update(*walk(1, 0)[0]).frame.number == 0


def test_a_live_stream_is_answered_frame_by_frame(analyzer):
    pulled = []

    def frames():
        for k, (pixels, seconds) in enumerate(walk(8, 5)):
            pulled.append(k)
            yield Frame(pixels, "x", k, seconds, kind="stream")

    results = analyzer.session().stream(frames())
    for k, result in enumerate(islice(results, 5)):
        assert (pulled[-1], result.frame.number) == (k, k)


def test_a_stream_of_live_frames_is_a_loop_of_updates(analyzer):
    frames = walk(12, 7)
    session = analyzer.session()
    expected = [list(session.update(*frame)) for frame in frames]
    live = (Frame(pixels, "", k, s, kind="camera") for k, (pixels, s) in enumerate(frames))
    assert [list(result) for result in analyzer.session().stream(live)] == expected


def test_a_recorded_video_is_interpolated_between_detections(analyzer):
    frames = [Frame(scene([(10 + 2 * k, 20)]), "x.mp4", k, k / 25, kind="video") for k in range(9)]
    asked = []
    analyzer_that_counts = package.Analyzer(analyzer._classify, CountingMarked(asked))
    found = list(analyzer_that_counts.session().stream(frames))
    assert len(asked) == 3
    assert [face.box[0] for (face,) in found[:7]] == pytest.approx([10 + 2 * k for k in range(7)])
    every = list(analyzer.session(detect_every=0).stream(frames))
    assert [face.box[0] for (face,) in every] == pytest.approx([10 + 2 * k for k in range(9)])


class CountingMarked(Marked):
    def __init__(self, asked):
        self.asked = asked

    def __call__(self, pixels):
        self.asked.append(1)
        return super().__call__(pixels)


def test_a_capture_loop_of_ones_own(analyzer, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), 10, (160, 90))
    for pixels, _ in walk(6, 2):
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    writer.release()

    session, results = analyzer.session(smoothing=0.5), []
    capture = cv2.VideoCapture(path)
    while True:
        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        is_there, pixels = capture.read()
        if not is_there:
            break
        results.append(session.update(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), seconds))
    assert len(results) == 6
    assert {face.face_id for result in results for face in result} <= {0, 1}
