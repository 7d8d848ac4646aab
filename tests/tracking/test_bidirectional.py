"""Bidirectional smoothing."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.results import Face, Frame, Result
from mien.tracking import bidirectional
from mien.tracking.frame_interval import MAX_AGE_SECONDS
from mien.tracking.smoothing import Smoother

PIXELS = np.zeros((8, 8, 3), np.uint8)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 4)), min_size=1, max_size=40))
def test_smoothing_is_symmetric_in_time(points):
    # At the limit itself, rounding decides whether an interval is a gap.
    assume(all(abs(step - MAX_AGE_SECONDS) > 1e-6 for _, step in points))
    shares = np.array([[happy, 1 - happy] for happy, _ in points])
    seconds = np.cumsum([step for _, step in points])
    smoothed = bidirectional.smooth_shares(seconds, shares, 0.5)
    mirrored = bidirectional.smooth_shares(seconds[-1] - seconds[::-1], shares[::-1], 0.5)[::-1]
    assert smoothed == pytest.approx(mirrored, abs=1e-9)
    assert smoothed.sum(1) == pytest.approx(np.ones(len(smoothed)))
    assert smoothed.min() >= shares.min() - 1e-12
    assert smoothed.max() <= shares.max() + 1e-12


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 6)), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 3.0]),
)
def test_forward_and_backward_smoothing_are_those_of_the_smoother(points, time_constant):
    limit = max(MAX_AGE_SECONDS, time_constant)
    assume(all(abs(step - limit) > 1e-6 for _, step in points))
    happy = np.array([value for value, _ in points])
    seconds = np.cumsum([step for _, step in points])

    def causal(times, values):
        smoother = Smoother(time_constant)
        for t, value in zip(times, values, strict=True):
            face = Face((0, 0, 5, 5), 0.9, {"happy": value}, 0)
            yield smoother(t, [face])[0].smoothed["happy"]

    forward = np.array(list(causal(seconds, happy)))
    backward = np.array(list(causal(seconds[-1] - seconds[::-1], happy[::-1])))[::-1]
    smoothed = bidirectional.smooth_shares(seconds, happy[:, None], time_constant)[:, 0]
    assert smoothed == pytest.approx((forward + backward) / 2, abs=1e-9)


def test_a_sudden_change_is_not_delayed():
    seconds = np.arange(100) / 25
    happy = (np.arange(100) >= 50).astype(float)
    smoothed = bidirectional.smooth_shares(seconds, np.stack([happy, 1 - happy], 1), 0.5)[:, 0]
    crossed = np.flatnonzero(smoothed > 0.5)[0]
    assert crossed == 50
    assert smoothed[40] == pytest.approx(1 - smoothed[59])


def test_a_long_gap_or_no_time_constant_disables_smoothing():
    seconds, shares = np.array([0.0, 0.1, 9.0, 9.1]), np.eye(2)[[0, 0, 1, 1]].astype(float)
    assert bidirectional.smooth_shares(seconds, shares, 0.5) == pytest.approx(shares)
    short = np.array([0.0, 0.1, 0.2, 0.3])
    assert bidirectional.smooth_shares(short, np.eye(2)[[0, 1, 0, 1]], 0.0) == pytest.approx(
        np.eye(2)[[0, 1, 0, 1]]
    )


def test_only_the_smoothed_emotions_are_replaced():
    emotions = [{"happy": h, "sad": 1 - h} for h in (1.0, 0.0)]
    frames = [Frame(PIXELS, "x.mp4", k, k / 25) for k in range(2)]
    first = [
        Result(frame, [Face((0, 0, 5, 5), 0.9, emotions[k], 3, ("blurred",), emotions[k])])
        for k, frame in enumerate(frames)
    ]
    results = list(bidirectional.smooth_results(iter(first), iter(frames)))
    assert [result.frame.number for result in results] == [0, 1]
    assert all(result.frame.pixels is PIXELS for result in results)
    for (face,), (before,) in zip(results, first, strict=True):
        assert (face.box, face.face_id, face.flags) == ((0, 0, 5, 5), 3, ("blurred",))
        assert face.emotions == before.emotions
    assert results[0][0].smoothed["happy"] == pytest.approx(1 - results[1][0].smoothed["happy"])


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_video_that_changes_between_the_passes_is_an_error(extra):
    frames = [Frame(PIXELS, "x", k, k / 10) for k in range(5)]
    results = [Result(frame) for frame in frames[: 4 - extra]]
    with pytest.raises(UserError, match="changed between"):
        list(bidirectional.smooth_results(results, frames[:4]))


def test_two_pass_smooths_bidirectionally_and_cannot_be_resumed(mien, tiny_model, tmp_path):
    import av

    path, out = tmp_path / "x.mp4", tmp_path / "x.jsonl"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        for k in range(20):
            pixels = np.full((64, 64, 3), 10 if k < 10 else 240, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    command = ("analyze", path, "--model", tiny_model, "--detector", "whole", "--to", out)
    assert mien(*command)[0] == 0
    causal = [json.loads(line)["faces"][0] for line in out.read_text().splitlines()]
    assert mien(*command, "--two-pass")[0] == 0
    two_pass = [json.loads(line)["faces"][0] for line in out.read_text().splitlines()]
    assert [face["emotions"] for face in two_pass] == [face["emotions"] for face in causal]
    seconds = np.arange(20) / 10
    shares = np.array([list(face["emotions"].values()) for face in causal])
    smoothed = np.array([list(face["smoothed"].values()) for face in two_pass])
    assert smoothed == pytest.approx(bidirectional.smooth_shares(seconds, shares, 0.5))
    code, _, err = mien(*command, "--two-pass", "--resume")
    assert code == 2
    assert "--two-pass" in err
