"""Sessions: ids, smoothing, interpolation, and continuing from a state."""

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import chelsea, coffee, rocket

import mien as package
from mien.errors import UserError
from mien.results import Frame

SIDE = 24


class MarkerDetector:
    """Detects the square textures of `scene` by the color of their corners."""

    name, geometry = "marker", package.CropGeometry()

    def __call__(self, pixels):
        corners = np.argwhere((pixels == (255, 0, 255)).all(2))
        return [package.Detection((float(x), float(y), SIDE, SIDE), 0.9) for y, x in corners]


def scene(positions, seed=0):
    """(90, 160, 3) uint8 with a different texture at each position that is not None.

    Textures of one position are similar for all seeds.
    """
    pixels = np.full((90, 160, 3), 80, np.uint8)
    for k, position in enumerate(positions):
        if position is None:
            continue
        x, y = position
        texture = np.random.default_rng(k).integers(0, 200, (SIDE, SIDE, 3), np.uint8)
        texture += np.random.default_rng((seed, k)).integers(0, 50, (SIDE, SIDE, 3), np.uint8)
        texture[0, 0] = 255, 0, 255
        pixels[y : y + SIDE, x : x + SIDE] = texture
    return pixels


def moving_faces(count, seed):
    """Frames, with their times, in which two faces approach each other; one is often absent."""
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.uniform(0.02, 0.3, count))
    absent = rng.random(count) < 0.2
    return [
        (scene([(5 + k % 50, 10), None if absent[k] else (130 - k % 50, 50)], k), float(seconds[k]))
        for k in range(count)
    ]


def as_dicts(results):
    return [result.to_dict() for result in results]


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return package.Analyzer(str(tiny_model), MarkerDetector())


def test_faces_keep_their_ids_and_are_smoothed(analyzer):
    session = analyzer.session(smoothing=0.5)
    results = [session.update(*frame) for frame in moving_faces(30, 1)]
    assert {face.face_id for result in results for face in result} == {0, 1}
    assert [result.frame.number for result in results] == list(range(30))
    first, *_, last = (face for result in results for face in result if face.face_id == 0)
    assert first.smoothed == pytest.approx(first.emotions)
    assert last.smoothed != pytest.approx(last.emotions, abs=1e-6)
    assert sum(last.smoothed.values()) == pytest.approx(1)


@given(st.integers(0, 100), st.integers(1, 14), st.sampled_from([0.0, 0.3, 2.0]))
@settings(max_examples=25)
def test_a_session_continued_from_its_state_gives_the_same_results(analyzer, seed, stop, smoothing):
    frames = moving_faces(15, seed)
    whole = analyzer.session(smoothing)
    expected = as_dicts(whole.update(*frame) for frame in frames)
    first = analyzer.session(smoothing)
    results = as_dicts(first.update(*frame) for frame in frames[:stop])
    second = analyzer.session(state=json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.state() == first.state()
    results += as_dicts(second.update(*frame) for frame in frames[stop:])
    assert results == expected


def test_the_state_of_a_new_session_can_be_used(analyzer):
    state = json.loads(json.dumps(analyzer.session().state(), allow_nan=False))
    frames = moving_faces(5, 3)
    resumed = analyzer.session(state=state)
    results = as_dicts(resumed.update(*frame) for frame in frames)
    session = analyzer.session()
    assert results == as_dicts(session.update(*frame) for frame in frames)


def test_the_tracks_of_absent_faces_are_removed(analyzer):
    session = analyzer.session()
    session.update(*moving_faces(1, 0)[0])
    assert len(session.state()["tracker"]["tracks"]) == 2
    empty = scene([])
    for seconds in (1.0, 2.0, 3.0, 4.0):
        session.update(empty, seconds)
    state = session.state()
    assert (state["tracker"]["tracks"], state["smoother"]["faces"]) == ([], [])


def test_the_smoothing_argument_overrides_the_state(analyzer):
    state = analyzer.session(smoothing=3).state()
    assert analyzer.session(state=state).state()["smoother"]["time_constant"] == 3
    assert analyzer.session(1, state=state).state()["smoother"]["time_constant"] == 1


@pytest.mark.parametrize("state", [{}, {"model": "x"}, [], 3, {"model": "x", "labels": None}])
def test_an_invalid_state_is_an_error(analyzer, state):
    with pytest.raises(UserError, match="not the state"):
        analyzer.session(state=state)


def test_a_state_of_another_model_is_an_error(analyzer, tiny_model):
    other = package.Analyzer(str(tiny_model), MarkerDetector(), contempt=True)
    with pytest.raises(UserError, match=r"tiny and 7 emotions.*tiny and 8"):
        other.session(state=analyzer.session().state())


@pytest.mark.parametrize("smoothing", [-1, float("nan"), float("inf")])
def test_an_invalid_smoothing_is_an_error(analyzer, smoothing):
    with pytest.raises(UserError, match="smoothing"):
        analyzer.session(smoothing)


def test_invalid_pixels_are_an_error_and_do_not_change_the_session(analyzer):
    session = analyzer.session()
    with pytest.raises(UserError, match="uint8"):
        session.update(np.zeros((9, 9, 3)), 0.0)
    assert session.update(*moving_faces(1, 0)[0]).frame.number == 0


def test_live_frames_are_not_delayed(analyzer):
    pulled = []

    def frames():
        for k, (pixels, seconds) in enumerate(moving_faces(8, 5)):
            pulled.append(k)
            yield Frame(pixels, "x", k, seconds, kind="stream")

    results = analyzer.session().stream(frames())
    for k, result in enumerate(islice(results, 5)):
        assert (pulled[-1], result.frame.number) == (k, k)


def test_a_stream_of_live_frames_equals_a_loop_of_updates(analyzer):
    frames = moving_faces(12, 7)
    session = analyzer.session()
    expected = [list(session.update(*frame)) for frame in frames]
    live = (Frame(pixels, "", k, s, kind="camera") for k, (pixels, s) in enumerate(frames))
    assert [list(result) for result in analyzer.session().stream(live)] == expected


def test_a_recorded_video_is_interpolated_between_detections(analyzer):
    frames = [Frame(scene([(10 + 2 * k, 20)]), "x.mp4", k, k / 25, kind="video") for k in range(9)]
    calls = []
    counting_analyzer = package.Analyzer(analyzer._classifier, CountingDetector(calls))
    results = list(counting_analyzer.session().stream(frames))
    assert len(calls) == 3  # in frames 0, 3 and 6; later frames keep the boxes of frame 6
    assert [face.box[0] for (face,) in results[:7]] == pytest.approx([10 + 2 * k for k in range(7)])
    detected = list(analyzer.session(detect_every=0).stream(frames))
    assert [face.box[0] for (face,) in detected] == pytest.approx([10 + 2 * k for k in range(9)])


class CountingDetector(MarkerDetector):
    def __init__(self, calls):
        self.calls = calls

    def __call__(self, pixels):
        self.calls.append(1)
        return super().__call__(pixels)


def test_a_capture_loop_with_opencv(analyzer, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"FFV1"), 10, (160, 90))
    for pixels, _ in moving_faces(6, 2):
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    writer.release()

    session, results = analyzer.session(smoothing=0.5), []
    capture = cv2.VideoCapture(path)
    while True:
        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        ok, pixels = capture.read()
        if not ok:
            break
        results.append(session.update(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), seconds))
    assert len(results) == 6
    assert {face.face_id for result in results for face in result} <= {0, 1}


def cut_scenes(count, seed):
    """Frames of two faces before photographs that change at cuts, and the shot of each frame."""
    rng = np.random.default_rng(seed)
    backgrounds = [coffee()[:180:2, :320:2], rocket()[:180:2, :320:2], chelsea()[:180:2, :320:2]]
    shots = np.repeat(np.arange(count), rng.integers(4, 10, count))[:count]
    frames = []
    for k, shot in enumerate(shots):
        pixels = backgrounds[shot % 3].copy()
        step = abs(k % 40 - 20)
        faces = scene([(5 + step, 10), (110 - step, 50)], int(shot))
        is_face = (faces != 80).any(2)
        pixels[is_face] = faces[is_face]
        frames.append((pixels, k / 25))
    return frames, (shots - shots[0]).tolist()


def test_a_cut_ends_all_tracks(analyzer):
    frames, shots = cut_scenes(40, 1)
    assert max(shots) > 2
    session = analyzer.session()
    results = [session.update(*frame) for frame in frames]
    assert [result.frame.shot for result in results] == shots
    assert [result.to_dict()["shot"] for result in results] == shots
    for result in results:
        first = 2 * result.frame.shot
        assert [face.face_id for face in result] == [first, first + 1]
    first = next(result for result in results if result.frame.shot == 1)
    assert all(face.smoothed == pytest.approx(face.emotions) for face in first)


def test_a_stream_detects_faces_at_a_cut_and_does_not_interpolate_across_it(analyzer):
    frames, shots = cut_scenes(60, 2)
    stream = [Frame(p, "clip", k, t, kind="video") for k, (p, t) in enumerate(frames)]
    results = list(analyzer.session().stream(stream))
    assert [result.frame.number for result in results] == list(range(60))
    assert [result.frame.shot for result in results] == shots
    for result in results:
        first = 2 * result.frame.shot
        assert [face.face_id for face in result] == [first, first + 1]


@given(st.integers(0, 100), st.integers(1, 29))
@settings(max_examples=15)
def test_a_state_continues_across_cuts_as_if_there_had_been_no_stop(analyzer, seed, stop):
    frames, _ = cut_scenes(30, seed)
    whole, first = analyzer.session(), analyzer.session()
    expected = as_dicts(whole.update(*frame) for frame in frames)
    actual = as_dicts(first.update(*frame) for frame in frames[:stop])
    second = analyzer.session(state=json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.state() == first.state()
    actual += as_dicts(second.update(*frame) for frame in frames[stop:])
    assert actual == expected


@pytest.mark.parametrize("live", [False, True])
def test_boxes_follow_the_size_of_the_frames(analyzer, live):
    """As in a video call: the frame gets smaller; the face keeps its size in pixels."""
    frames = []
    for k in range(36):
        large = scene([(60, 30)])
        pixels = large if k // 12 != 1 else large[15:75, 26:134]
        frames.append(Frame(np.ascontiguousarray(pixels), "call", k, k / 25,
                            kind="camera" if live else "video"))  # fmt: skip
    results = list(analyzer.session().stream(frames))
    assert [[face.face_id for face in result] for result in results] == [[0]] * 36
    for result in results:
        x, y = (60, 30) if result.frame.number // 12 != 1 else (34, 15)
        assert result[0].box == pytest.approx((x, y, SIDE, SIDE))


def test_results_of_all_frames_before_an_error_are_yielded(analyzer):
    def frames():
        for k in range(5):
            yield Frame(scene([(40, 30)], k), "x", k, k / 25)
        raise UserError("The file is damaged.")

    results = analyzer.session().stream(frames())
    assert [(result.frame.number, len(result)) for result in islice(results, 5)] == [
        (k, 1) for k in range(5)
    ]
    with pytest.raises(UserError):
        next(results)
