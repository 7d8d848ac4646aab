"""Synthetic clips match their ground truth."""

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
    """Random textures as faces: four per emotion, clearly different from each other."""
    rng = np.random.default_rng(0)
    pixels = [actors.smooth_noise(rng, 48, 48, (8, 8)) * 90 + 120 for _ in range(28)]
    images = np.clip(pixels, 0, 255).astype(np.uint8)
    return data.Samples(images, np.arange(28) % 7, np.zeros((28, 10), np.uint8), np.arange(28))


def scenario_truths(scenario, faces, **options):
    return [truth for _, truth in clips.frames(scenario, faces, **{"size": SMALL, **options})]


def decode(path):
    """Return the readable frames of a file, and the number of damaged packets."""
    frames, damaged_count = [], 0
    with av.open(str(path)) as file:
        for packet in file.demux(video=0):
            try:
                frames += packet.decode()
            except av.FFmpegError:
                damaged_count += 1
    return frames, damaged_count


# Pixels


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS)
def test_clips_depend_only_on_the_seed(scenario, faces):
    first, same, other = (
        list(clips.frames(scenario, faces, SMALL, seconds=0.2, seed=seed)) for seed in (3, 3, 4)
    )
    assert [truth for _, truth in first] == [truth for _, truth in same]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(first, same, strict=True))
    assert first[0][0].shape == (90, 160, 3)
    assert not np.array_equal(first[0][0], other[0][0])


@pytest.mark.parametrize("scenario", ["one", "crossing", "four", "growing"])
def test_boxes_contain_faces_with_the_emotions_of_the_ground_truth(scenario, faces):
    is_opaque = actors.MASK[..., 0] > 0.9
    by_emotion = {
        name: faces.faces[faces.labels == k][:, is_opaque] for k, name in enumerate(EMOTIONS)
    }
    checked = 0
    frames = clips.frames(scenario, faces, (640, 360), fps=2)
    for pixels, truth in itertools.islice(frames, 1, None, 2):  # face images fade at full seconds
        for face in truth.faces:
            if face.visible == 1:
                crop = model_spec.crop(pixels, face.box, side=48, channels=1)[0][is_opaque]
                correlations = [
                    np.corrcoef(crop, other)[0, 1] for other in by_emotion[face.emotion]
                ]
                assert max(correlations) > 0.95
                checked += 1
    assert checked >= 5


def test_emotions_change_every_two_seconds_with_a_fade(faces):
    truths = scenario_truths("one", faces, seconds=6)
    labels = [truth.faces[0].emotion for truth in truths]
    changes = [truths[k].seconds for k in range(1, len(labels)) if labels[k] != labels[k - 1]]
    assert changes == [2.0, 4.0]
    # The second image replaces the first at 2 s; body, skin and position are not used.
    actor = actors.Actor(0, np.zeros(0), np.zeros(0), lambda _: (0, 0, 0), ((0, 0), (2, 1)))
    pair = np.stack([np.zeros((48, 48)), np.full((48, 48), 100)])
    means = [actor.face(pair, t)[0].mean() for t in (1.9, 1.95, 2.0, 2.05, 2.1)]
    np.testing.assert_allclose(means, [0, 25, 50, 75, 100], atol=1e-3)


def test_two_faces_cross_twice_with_the_same_one_in_front(faces):
    truths = scenario_truths("crossing", faces)
    visible = np.array([{f.identity: f.visible for f in t.faces}.get(0, 0.0) for t in truths])
    starts_of_occlusion = np.flatnonzero(np.diff((visible < 0.5).astype(int)) == 1)
    assert len(starts_of_occlusion) == 2
    assert visible.min() == 0
    assert all(t.faces[-1].identity == 1 and t.faces[-1].visible == 1 for t in truths)


def test_the_leaving_face_is_absent_at_the_given_times(faces):
    leaving = 1  # identity of the face that leaves
    absent = [t.seconds for t in scenario_truths("leaving", faces) if leaving not in t.boxes]
    expected = [k / 25 for k in range(300) if any(a <= k / 25 <= b for a, b in scenarios.ABSENCES)]
    assert set(expected) <= set(absent)
    # Just before and after each absence, less than a pixel is in the frame, which counts as absent.
    assert len(absent) <= len(expected) + 4


def test_the_growing_face_grows_from_40_to_220_pixels(faces):
    sides = [t.faces[0].box[2] for t in scenario_truths("growing", faces, size=(640, 360), fps=5)]
    assert sides[0] == pytest.approx(40)
    assert sides[-1] == pytest.approx(220, rel=0.05)
    assert np.diff(sides).min() > 0


def test_nothing_moves_in_the_still_scenario_and_the_scenario_none_has_no_faces(faces):
    assert len({t.faces for t in scenario_truths("still", faces, seconds=3)}) == 1
    assert not any(t.faces for t in scenario_truths("none", faces, seconds=1))


def test_real_faces_are_detected_at_their_boxes():
    if not (SHARED / "fer2013").is_dir():
        pytest.skip("FER2013 is not available")
    detect = yunet.load()
    faces = clips.detectable_faces(data.load(SHARED / "fer2013")["val"], detect, max_per_emotion=1)
    assert faces.labels.tolist() == list(range(7))
    for pixels, truth in clips.frames("four", faces, fps=1, seconds=4):
        detections = dict(enumerate(face.box for face in detect(pixels)))
        assert len(tracking_scores.match_boxes(truth.boxes, detections)) == len(detections) == 4


# Files


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
def test_timestamps_are_exact(name, codec, variable, faces, tmp_path):
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    frames = clips.frames("one", faces, SMALL, seconds=1, variable=variable)
    written = clip_files.encode(tmp_path / name, frames, codec=codec, sound=True)
    decoded, damaged_count = decode(tmp_path / name)
    assert not damaged_count
    assert tracking_scores.time_error(written, [frame.time for frame in decoded]) < 1e-9
    steps = np.diff([truth.seconds for truth in written])
    assert steps.min() > 0
    assert (np.ptp(steps) > 0.01) == variable


def test_rotated_files_have_a_display_matrix(faces, tmp_path):
    originals = list(clips.frames("still", faces, SMALL, seconds=0.2))
    for rotation, expected in ((0, 0), (90, 90), (180, -180), (270, -90)):
        clip_files.encode(tmp_path / "a.mp4", originals, rotation=rotation)
        frames, _ = decode(tmp_path / "a.mp4")
        frame = frames[0]
        assert frame.rotation == expected
        upright = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
        assert upright.shape == (90, 160, 3)
        assert cv2.PSNR(np.ascontiguousarray(upright), originals[0][0]) > 25


def test_a_copy_without_video_contains_the_tone(faces, tmp_path):
    path = tmp_path / "a.mp4"
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=1), sound=True)
    with av.open(str(clip_files.without_video(path))) as file:
        assert not file.streams.video
        wave = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(wave) / clip_files.RATE == pytest.approx(1, abs=0.05)
    peak = np.abs(np.fft.rfft(wave)).argmax() * clip_files.RATE / len(wave)
    assert peak == pytest.approx(440, abs=2)


def test_damaged_files_are_partly_readable_unless_their_index_is_missing(faces, tmp_path):
    path = tmp_path / "a.mp4"
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=3))
    readable, _ = decode(clip_files.truncated(path, 0.6))
    assert 20 < len(readable) < 70  # of 75 frames
    readable, damaged_count = decode(clip_files.corrupted(path, 0.3, 1000))
    assert damaged_count
    assert readable[-1].time > 2.5  # of 3 s: frames after the damage are decoded
    clip_files.encode(path, clips.frames("one", faces, SMALL, seconds=1), index_first=False)
    with pytest.raises(av.FFmpegError):
        decode(clip_files.truncated(path, 0.9))
