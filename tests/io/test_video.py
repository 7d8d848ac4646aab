"""Read videos and image sequences."""

import io
import threading
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mien.errors import UserError
from mien.io import prefetch, reader, video
from mien.io.source import Source
from tests.io.video_files import frame_times, read, write_gif
from tests.synthetic import clip_files, clips, tracking_scores


@pytest.mark.parametrize(
    ("name", "codec", "is_variable"),
    [
        ("a.mp4", "libx264", False), ("b.mp4", "libx264", True), ("c.webm", "libvpx-vp9", True),
        ("d.avi", "mjpeg", False), ("e.mp4", "mpeg4", False), ("f.mkv", "libx264", True),
    ],
)  # fmt: skip
def test_frames_have_their_own_timestamps(tmp_path, sample_faces, name, codec, is_variable):
    path = tmp_path / name
    originals = clips.frames("one", sample_faces, size=(320, 180), seconds=1, variable=is_variable)
    truths = clip_files.encode(path, originals, codec=codec)
    frames = list(video.frames(Source.parse(str(path))))
    assert tracking_scores.time_error(truths, [frame.seconds for frame in frames]) < 1e-3
    assert [frame.number for frame in frames] == list(range(len(truths)))
    assert all(frame.pixels.shape == (180, 320, 3) for frame in frames)
    assert Source.parse(str(path)).kind == "video"


def test_animated_gif_is_a_video_and_a_single_frame_is_an_image(tmp_path, sample_faces):
    moving, still = tmp_path / "moving.GIF", tmp_path / "still.gif"
    originals = write_gif(moving, sample_faces, 5, duration=[40, 200, 40, 40, 40])
    write_gif(still, sample_faces, 1)
    assert Source.parse(str(moving)).kind == "animation"
    assert Source.parse(str(still)).kind == "image"
    frames = list(reader.frames(Source.parse(str(moving))))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.04, 0.24, 0.28, 0.32])
    for frame, original in zip(frames, originals, strict=True):
        assert np.abs(frame.pixels.astype(int) - original).mean() < 8
    write_gif(moving, sample_faces, 1)  # the kind is not cached
    assert Source.parse(str(moving)).kind == "image"


def test_video_continues_when_timestamps_restart(tmp_path, sample_faces):
    recording, joined = tmp_path / "recording.ts", tmp_path / "joined.ts"
    clip_files.encode(recording, clips.frames("one", sample_faces, size=(320, 180), seconds=3))
    joined.write_bytes(2 * recording.read_bytes())
    times, joined_times = frame_times(recording), frame_times(joined)
    assert len(joined_times) == pytest.approx(2 * len(times), abs=2)
    assert all(a < b for a, b in pairwise(joined_times))
    assert joined_times[-1] == pytest.approx(2 * times[-1], abs=0.3)
    rest = list(video.frames(Source.parse(str(joined)), video.FrameSelection(start=2.0)))
    earliest = 2.0 - 0.5 / 25  # `EARLY_TOLERANCE`: half a frame before the start
    assert [frame.seconds for frame in rest] == [t for t in joined_times if t >= earliest]
    count = len(joined_times)
    assert [frame.number for frame in rest] == list(range(count - len(rest), count))
    assert frame_times(joined, start=4.0)[0] == pytest.approx(4.0, abs=0.05)


def test_reading_ends_at_the_frame_at_which_should_stop_is_true(clip):
    calls = []

    def should_stop():
        calls.append(1)
        return True

    assert list(video.frames(Source.parse(str(clip[0])), should_stop=should_stop)) == []
    assert len(calls) == 1


def test_closing_the_iterator_ends_decoding_while_frames_are_skipped(clip):
    calls, is_closing = [], threading.Event()

    def should_stop():
        calls.append(1)
        if len(calls) == 2 and is_closing.wait(10):
            time.sleep(0.2)  # meanwhile, the iterator is closed
        return False

    frames = video.frames(
        Source.parse(str(clip[0])), video.FrameSelection(seconds=1e6), should_stop=should_stop
    )
    next(frames)
    is_closing.set()
    frames.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate()]
    assert len(calls) < 25  # not called for every frame of the clip


def test_missing_number_of_a_sequence_is_an_error(tmp_path):
    for k in (1, 2, 4):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{k:04d}.png")
    with pytest.raises(UserError, match="number 3"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))
    # Counting up to this number would take far too long.
    Image.new("RGB", (64, 48)).save(tmp_path / "20240115123456.png")
    with pytest.raises(UserError, match="number 3"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))


def test_unreadable_folder_of_a_sequence_is_an_error(tmp_path, monkeypatch):
    def deny(_):  # instead of permissions, which do not apply to root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(UserError, match=r"%04d\.png: Permission denied"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))


def test_every_and_seconds_exclude_each_other():
    with pytest.raises(UserError, match=r"every 2 .* every 1 s"):
        video.FrameSelection(every=2, seconds=1)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_upright(tmp_path, sample_faces, rotation):
    path = tmp_path / "rotated.mp4"
    originals = list(clips.frames("one", sample_faces, size=(320, 180), seconds=0.2))
    clip_files.encode(path, originals, rotation=rotation)
    first = next(video.frames(Source.parse(str(path))))
    assert first.pixels.shape == (180, 320, 3)
    assert np.abs(first.pixels.astype(int) - originals[0][0]).mean() < 12


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_image_sequence_is_a_video(tmp_path, sample_faces, suffix):
    originals = [
        pixels for pixels, _ in clips.frames("one", sample_faces, size=(160, 90), seconds=0.4)
    ]
    for k, pixels in enumerate(originals, 7):
        Image.fromarray(pixels).save(tmp_path / f"a b{k:03d}.{suffix}", quality=95)
    pattern = str(tmp_path / f"a b%03d.{suffix}@10")
    frames = list(video.frames(Source.parse(pattern)))
    assert [frame.number for frame in frames] == list(range(len(originals)))
    assert [frame.seconds for frame in frames] == pytest.approx(
        [k / 10 for k in range(len(originals))]
    )
    max_error = 25 if suffix == "jpg" else 3
    for frame, pixels in zip(frames, originals, strict=True):
        assert abs(frame.pixels.astype(int) - pixels).mean() < max_error
    without_rate = pattern.removesuffix("@10")
    assert frame_times(without_rate) == pytest.approx([k / 25 for k in range(len(originals))])
    assert frame_times(pattern, start=0.5) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_sequence_without_files_is_an_error(mien, tmp_path, tiny_model):
    Image.new("RGB", (64, 48)).save(tmp_path / "1.png")
    patterns = ("%04d.png", "none/%04d.png@30", "%999999999d.png")
    for pattern in patterns:
        path = tmp_path / pattern
        code, _, err = mien("analyze", path, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert pattern.partition("@")[0] in err


def test_every_and_seconds_select_frames(clip):
    path, truths = clip
    assert frame_times(path, every=5) == [t.seconds for t in truths[::5]]
    times = frame_times(path, seconds=0.25)
    assert len(times) == 4
    one_frame = 0.041  # 1/25 s, and rounding
    assert all(b - a == pytest.approx(0.25, abs=one_frame) for a, b in pairwise(times))


@pytest.mark.parametrize("is_variable", [False, True])
@pytest.mark.parametrize("seconds", [0.06, 0.08, 0.11, 0.2])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_selection_does_not_depend_on_where_reading_begins(
    tmp_path, sample_faces, is_variable, seconds, start
):
    path = tmp_path / "a.mp4"
    originals = clips.frames("one", sample_faces, size=(64, 48), seconds=1, variable=is_variable)
    clip_files.encode(path, originals)
    selection = video.FrameSelection(seconds=seconds, start=start)
    frames = [(f.number, f.seconds) for f in video.frames(Source.parse(str(path)), selection)]
    assert len(frames) > 3
    for k, frame in enumerate(frames):
        rest = video.frames(Source.parse(str(path)), selection.starting_at(*frame))
        assert [(f.number, f.seconds) for f in rest] == frames[k:]


def test_time_steps_do_not_change_if_a_resumed_selection_is_resumed_again():
    selection = video.FrameSelection(seconds=0.3, start=0.1)
    resumed = selection.starting_at(10, 0.4)
    assert resumed.starting_at(20, 1.0).origin == resumed.origin == 0.1


def test_start_and_end_select_a_range(clip):
    path, _ = clip
    frames = list(video.frames(Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)))
    assert [f.seconds for f in frames] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56, 0.6])
    assert [f.number for f in frames] == [10, 11, 12, 13, 14, 15]
    all_frames = list(video.frames(Source.parse(str(path))))
    assert np.array_equal(frames[0].pixels, all_frames[10].pixels)
    with pytest.raises(UserError, match=r"99 s .* 1\.0 s"):
        frame_times(path, start=99)


def test_truncated_file_gives_its_frames_and_a_warning(clip):
    path, truths = clip
    errors = []
    frames = read(clip_files.truncated(path, 0.5), errors)
    assert 0 < len(frames) < len(truths)
    assert "truncated" in str(errors[-1])


def test_reading_continues_after_damage(tmp_path, sample_faces):
    path, errors = tmp_path / "long.mp4", []
    originals = clips.frames("one", sample_faces, size=(320, 180), seconds=6)
    truths = clip_files.encode(path, originals, fps=25)
    frames = read(clip_files.corrupted(path, 0.4, 3000), errors)
    assert len(truths) / 2 < len(frames)
    assert frames[-1].seconds > 5.5
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(set(seconds))
    assert 0 < len(errors) < 20  # one per damaged part, not per frame


@pytest.mark.parametrize("body", [b"", b"not a video at all" * 99])
def test_unreadable_video_is_an_error(tmp_path, body):
    path = tmp_path / "x.mp4"
    path.write_bytes(body)
    with pytest.raises(UserError, match=r"x\.mp4"):
        next(video.frames(Source.parse(str(path))))


def test_missing_video_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.mp4"):
        Source.parse(str(tmp_path / "nowhere.mp4"))


def test_file_with_only_audio_is_an_error(clip):
    audio_only = Source.parse(str(clip_files.without_video(clip[0])))
    with pytest.raises(UserError, match="no video"):
        next(video.frames(audio_only))


def test_prefetch_is_bounded_and_ends_with_its_reader(clip, monkeypatch):
    path, _ = clip
    monkeypatch.setattr(prefetch, "MAX_PREFETCHED_PIXELS", 3 * 320 * 180)
    decoded = []
    convert = video.RgbConverter.__call__

    def convert_and_record(self, av_frame):
        decoded.append(av_frame)
        return convert(self, av_frame)

    monkeypatch.setattr(video.RgbConverter, "__call__", convert_and_record)
    frames = video.frames(Source.parse(str(path)))
    next(frames)
    time.sleep(0.3)
    # One was returned, three are queued and one waits; one more is tolerated.
    assert len(decoded) <= 6
    frames.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate()]


def test_reader_can_be_closed_in_the_decoder_thread(clip, monkeypatch):
    """Garbage collection may close an abandoned iterator in any thread."""
    suspended, closed, errors, count = threading.Event(), threading.Event(), [], iter(range(99))

    def convert(_, av_frame):
        is_second = next(count) == 1
        if is_second and suspended.wait(10):
            try:
                reader.close()
            except RuntimeError as error:
                errors.append(error)
            closed.set()
        return av_frame.to_ndarray(format="rgb24")

    monkeypatch.setattr(video.RgbConverter, "__call__", convert)
    reader = video.frames(Source.parse(str(clip[0])))
    next(reader)
    suspended.set()
    assert closed.wait(10)
    assert errors == []


def test_frame_above_the_pixel_limit_counts_as_damaged(tmp_path):
    """The header states 64 x 64 pixels, but the frames are larger."""
    path, body = tmp_path / "bomb.avi", io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(body, "JPEG")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for k in range(2):
            packet = av.Packet(body.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = k
            out.mux(packet)
    source, errors = Source.parse(str(path)), []
    assert list(video.frames(source, on_warning=errors.append, max_pixels=8_000_000)) == []
    (error,) = map(str, errors)
    assert "bomb.avi" in error
    frames = video.frames(source, on_warning=errors.append, max_pixels=10_000_000)
    assert [frame.pixels.shape for frame in frames] == [(3000, 3000, 3)] * 2
    assert len(errors) == 1


def test_probe_reads_duration_size_and_rate(clip):
    info = video.probe(Source.parse(str(clip[0])))
    assert info.seconds == pytest.approx(1, abs=0.05)
    assert (info.width, info.height, info.rate) == (320, 180, 25)


def test_damage_in_the_middle_is_not_reported_as_truncation(tmp_path, sample_faces):
    path, errors = tmp_path / "whole.mp4", []
    clip_files.encode(path, clips.frames("one", sample_faces, size=(320, 180), seconds=6))
    frames = read(clip_files.corrupted(path, 0.5, 3000), errors)
    assert frames[-1].seconds == pytest.approx(6 - 1 / 25, abs=0.1)
    assert errors
    assert not [error for error in errors if "truncated" in str(error)]


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("every", -2), ("seconds", -0.1)])
def test_step_out_of_range_is_an_error(name, value):
    with pytest.raises(UserError, match=str(value)):
        video.FrameSelection(**{name: value})
