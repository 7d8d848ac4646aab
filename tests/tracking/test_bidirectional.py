"""A video watched twice: smoothing that looks both ways, and the same frames."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.results import Face, Frame, Result
from mien.tracking import bidirectional
from mien.tracking.tracker import MAX_AGE_SECONDS

PIXELS = np.zeros((8, 8, 3), np.uint8)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 4)), min_size=1, max_size=40))
def test_smoothing_both_ways_is_the_same_from_either_end(moments):
    # At patience itself, the last bit of a difference says whether it is a gap.
    assume(all(abs(step - MAX_AGE_SECONDS) > 1e-6 for _, step in moments))
    shares = np.array([[happy, 1 - happy] for happy, _ in moments])
    seconds = np.cumsum([step for _, step in moments])
    found = bidirectional.smooth_bidirectional(seconds, shares, 0.5)
    mirrored = bidirectional.smooth_bidirectional(seconds[-1] - seconds[::-1], shares[::-1], 0.5)[
        ::-1
    ]
    assert found == pytest.approx(mirrored, abs=1e-9)
    assert found.sum(1) == pytest.approx(np.ones(len(found)))
    assert found.min() >= shares.min() - 1e-12
    assert found.max() <= shares.max() + 1e-12


def test_a_sudden_change_is_met_in_its_middle():
    seconds = np.arange(100) / 25
    happy = (np.arange(100) >= 50).astype(float)
    found = bidirectional.smooth_bidirectional(seconds, np.stack([happy, 1 - happy], 1), 0.5)[:, 0]
    crossed = np.flatnonzero(found > 0.5)[0]
    assert crossed == 50
    assert found[40] == pytest.approx(1 - found[59])


def test_nothing_is_carried_over_a_long_gap_or_without_a_time_constant():
    seconds, shares = np.array([0.0, 0.1, 9.0, 9.1]), np.eye(2)[[0, 0, 1, 1]].astype(float)
    assert bidirectional.smooth_bidirectional(seconds, shares, 0.5) == pytest.approx(shares)
    quick = np.array([0.0, 0.1, 0.2, 0.3])
    assert bidirectional.smooth_bidirectional(quick, np.eye(2)[[0, 1, 0, 1]], 0.0) == pytest.approx(
        np.eye(2)[[0, 1, 0, 1]]
    )


def test_the_second_time_has_the_faces_of_the_first():
    emotions = [{"happy": h, "sad": 1 - h} for h in (1.0, 0.0)]
    frames = [Frame(PIXELS, "x.mp4", k, k / 25) for k in range(2)]
    first = [
        Result(frame, [Face((0, 0, 5, 5), 0.9, emotions[k], 3, ("blurred",), emotions[k])])
        for k, frame in enumerate(frames)
    ]
    found = list(bidirectional.smooth(iter(first), iter(frames)))
    assert [result.frame.number for result in found] == [0, 1]
    assert all(result.frame.pixels is PIXELS for result in found)
    for (face,), (was,) in zip(found, first, strict=True):
        assert (face.box, face.face_id, face.flags) == ((0, 0, 5, 5), 3, ("blurred",))
        assert face.emotions == was.emotions
    assert found[0][0].smoothed["happy"] == pytest.approx(1 - found[1][0].smoothed["happy"])


@pytest.mark.parametrize("more", [-1, 1])
def test_a_video_that_changes_meanwhile_is_told(more):
    frames = [Frame(PIXELS, "x", k, k / 10) for k in range(5)]
    first = [Result(frame) for frame in frames[: 4 - more]]
    with pytest.raises(UserError, match="changed while it was read"):
        list(bidirectional.smooth(first, frames[:4]))


def test_the_command_line_smooths_both_ways(mien, tiny_model, tmp_path):
    import av

    path, out = tmp_path / "x.mp4", tmp_path / "x.jsonl"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        for k in range(20):
            pixels = np.full((64, 64, 3), 10 if k < 10 else 240, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    words = ("analyze", path, "--model", tiny_model, "--detector", "whole", "--to", out)
    assert mien(*words)[0] == 0
    once = [json.loads(line)["faces"][0] for line in out.read_text().splitlines()]
    assert mien(*words, "--two-pass")[0] == 0
    both = [json.loads(line)["faces"][0] for line in out.read_text().splitlines()]
    assert [face["emotions"] for face in both] == [face["emotions"] for face in once]
    seconds = np.arange(20) / 10
    shares = np.array([list(face["emotions"].values()) for face in once])
    found = np.array([list(face["smoothed"].values()) for face in both])
    assert found == pytest.approx(bidirectional.smooth_bidirectional(seconds, shares, 0.5))
    code, _, err = mien(*words, "--two-pass", "--resume")
    assert code == 2
    assert "--two-pass" in err
