"""Synthetic clips: is true what they call true?"""

import itertools

import av
import cv2
import numpy as np
import pytest

from mien.classification import model_spec
from mien.detection import yunet
from mien.lab import data
from mien.labels import EMOTIONS
from tests.paths import SHARED
from tests.synthetic import actors, clip_files, clips, scenarios, tracking_scores

SMALL = (160, 90)


@pytest.fixture(scope="module")
def faces():
    """Four faces an emotion that nobody would take for one another."""
    dice = np.random.default_rng(0)
    pixels = [actors.smooth_noise(dice, 48, 48, (8, 8)) * 90 + 120 for _ in range(28)]
    made = np.clip(pixels, 0, 255).astype(np.uint8)
    return data.Samples(made, np.arange(28) % 7, np.zeros((28, 10), np.uint8), np.arange(28))


def truths(scenario, faces, **wanted):
    return [truth for _, truth in clips.frames(scenario, faces, **{"size": SMALL, **wanted})]


def decoded(path):
    """The frames of a file that can be had, and how often one could not."""
    found, failed = [], 0
    with av.open(str(path)) as file:
        for packet in file.demux(video=0):
            try:
                found += packet.decode()
            except av.FFmpegError:
                failed += 1
    return found, failed


# What there is to be seen.


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS)
def test_a_clip_is_the_same_every_time(scenario, faces):
    one, same, other = (
        list(clips.frames(scenario, faces, SMALL, seconds=0.2, seed=seed)) for seed in (3, 3, 4)
    )
    assert [truth for _, truth in one] == [truth for _, truth in same]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, same, strict=True))
    assert one[0][0].shape == (90, 160, 3)
    assert not np.array_equal(one[0][0], other[0][0])


@pytest.mark.parametrize("scenario", ["one", "crossing", "four", "growing"])
def test_a_box_holds_a_face_of_its_emotion(scenario, faces):
    inside = actors.MASK[..., 0] > 0.9
    known = {name: faces.faces[faces.labels == k][:, inside] for k, name in enumerate(EMOTIONS)}
    seen = 0
    played = clips.frames(scenario, faces, (640, 360), fps=2)
    for pixels, truth in itertools.islice(played, 1, None, 2):  # at full seconds faces fade
        for face in truth.faces:
            if face.visible == 1:
                crop = model_spec.crop(pixels, face.box, 48, 1)[0][inside]
                alike = [np.corrcoef(crop, other)[0, 1] for other in known[face.emotion]]
                assert max(alike) > 0.95
                seen += 1
    assert seen >= 5


def test_emotions_change_every_two_seconds_and_fade_in_between(faces):
    shown = truths("one", faces, seconds=6)
    labels = [truth.faces[0].emotion for truth in shown]
    changes = [t.seconds for t, (a, b) in zip(shown[1:], itertools.pairwise(labels)) if a != b]  # noqa: B905
    assert changes == [2.0, 4.0]
    actor = actors.Actor(0, np.zeros(0), np.zeros(0), lambda _: (0, 0, 0), ((0, 0), (2, 1)))
    pair = np.stack([np.zeros((48, 48)), np.full((48, 48), 100)])
    mixed = [actor.face(pair, t)[0].mean() for t in (1.9, 1.95, 2.0, 2.05, 2.1)]
    np.testing.assert_allclose(mixed, [0, 25, 50, 75, 100], atol=1e-3)


def test_two_cross_twice_and_one_is_always_in_front(faces):
    shown = truths("crossing", faces)
    share = np.array([{f.identity: f.visible for f in t.faces}.get(0, 0.0) for t in shown])
    hidden = np.flatnonzero(np.diff((share < 0.5).astype(int)) == 1)
    assert len(hidden) == 2
    assert share.min() == 0
    assert all(t.faces[-1].identity == 1 and t.faces[-1].visible == 1 for t in shown)


def test_who_leaves_is_away_as_long_as_said(faces):
    away = [t.seconds for t in truths("leaving", faces) if 1 not in t.boxes]
    told = [k / 25 for k in range(300) if any(a <= k / 25 <= b for a, b in scenarios.AWAY)]
    assert set(told) <= set(away)
    assert len(away) <= len(told) + 4  # a sliver at the edge is less than a pixel


def test_who_comes_near_grows_and_who_is_still_does_not_move(faces):
    sides = [t.faces[0].box[2] for t in truths("growing", faces, size=(640, 360), fps=5)]
    assert sides[0] == pytest.approx(40)
    assert sides[-1] == pytest.approx(220, rel=0.05)
    assert np.diff(sides).min() > 0
    assert len({t.faces for t in truths("still", faces, seconds=3)}) == 1
    assert not any(t.faces for t in truths("none", faces, seconds=1))


def test_the_real_faces_that_play_are_found_where_they_are():
    if not (SHARED / "fer2013").is_dir():
        pytest.skip("the pack of FER2013 is not here")
    detect = yunet.load()
    playing = clips.detectable_faces(data.load(SHARED / "fer2013")["val"], detect, most=1)
    assert playing.labels.tolist() == list(range(7))
    for pixels, truth in clips.frames("four", playing, fps=1, seconds=4):
        found = dict(enumerate(face.box for face in detect(pixels)))
        assert len(tracking_scores.match_boxes(truth.boxes, found)) == len(found) == 4


# What is in the files.


@pytest.mark.parametrize(
    ("name", "codec", "variable"),
    [
        ("a.mp4", "libx264", False),
        ("a.mp4", "libx264", True),
        ("a.mp4", "mpeg4", True),
        ("a.mp4", "libx265", True),
        ("a.webm", "libvpx-vp9", True),
        ("a.avi", "mjpeg", False),
    ],
)
def test_time_stamps_arrive_as_they_were_sent(name, codec, variable, faces, tmp_path):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    made = clips.frames("one", faces, SMALL, seconds=1, variable=variable)
    told = clip_files.encode(tmp_path / name, made, codec=codec, sound=True)
    found, failed = decoded(tmp_path / name)
    assert not failed
    assert tracking_scores.time_error(told, [frame.time for frame in found]) < 1e-9
    steps = np.diff([truth.seconds for truth in told])
    assert steps.min() > 0
    assert (np.ptp(steps) > 0.01) == variable


def test_what_is_stored_turned_is_upright_once_turned_back(faces, tmp_path):
    sent = list(clips.frames("still", faces, SMALL, seconds=0.2))
    for rotation, told in ((0, 0), (90, 90), (180, -180), (270, -90)):
        clip_files.encode(tmp_path / "a.mp4", sent, rotation=rotation)
        frame = decoded(tmp_path / "a.mp4")[0][0]
        assert frame.rotation == told
        upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        assert upright.shape == (90, 160, 3)
        assert cv2.PSNR(np.ascontiguousarray(upright), sent[0][0]) > 25


def test_sound_can_be_heard_and_had_alone(faces, tmp_path):
    path = tmp_path / "a.mp4"
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=1), sound=True)
    with av.open(str(clip_files.without_video(path))) as file:
        assert not file.streams.video
        wave = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(wave) / clip_files.RATE == pytest.approx(1, abs=0.05)
    loudest = np.abs(np.fft.rfft(wave)).argmax() * clip_files.RATE / len(wave)
    assert loudest == pytest.approx(440, abs=2)


def test_of_a_damaged_file_a_part_can_be_had(faces, tmp_path):
    path = tmp_path / "a.mp4"
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=3))
    found, failed = decoded(clip_files.truncated(path, 0.6))
    assert 20 < len(found) < 70
    found, failed = decoded(clip_files.corrupted(path, 0.3, 1000))
    assert failed
    assert found[-1].time > 2.5
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=1), index_first=False)
    with pytest.raises(av.FFmpegError):
        decoded(clip_files.truncated(path, 0.9))
