"""Read videos, animations and image sequences."""

import io
import re
import threading
import time
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

import mien as package
from mien.errors import UserError
from mien.io import prefetch, video
from mien.io.source import Source
from tests.io.video_files import frame_times, write_gif
from tests.synthetic import clip_files, clips, tracking_scores


@pytest.mark.parametrize(
    ("name", "codec", "variable"),
    [
        ("a.mp4", "libx264", False), ("b.mp4", "libx264", True), ("c.webm", "libvpx-vp9", True),
        ("d.avi", "mjpeg", False), ("e.mp4", "mpeg4", False), ("f.mkv", "libx264", True),
    ],
)  # fmt: skip
def test_frames_have_their_own_time_stamps(tmp_path, sample_faces, name, codec, variable):
    path = tmp_path / name
    originals = clips.frames("one", sample_faces, size=(320, 180), seconds=1, variable=variable)
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
    frames = list(video.frames(Source.parse(str(moving))))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.04, 0.24, 0.28, 0.32])
    for frame, original in zip(frames, originals, strict=True):
        assert np.abs(frame.pixels.astype(int) - original).mean() < 8
    write_gif(moving, sample_faces, 1)  # the kind is not cached
    assert Source.parse(str(moving)).kind == "image"


def test_video_continues_when_time_stamps_restart(tmp_path, sample_faces):
    parts = []
    for name in ("a.ts", "b.ts"):
        frames = clips.frames("one", sample_faces, size=(320, 180), seconds=3)
        clip_files.encode(tmp_path / name, frames)
        parts.append((tmp_path / name).read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    single, double = frame_times(tmp_path / "a.ts"), frame_times(joined)
    assert len(double) == pytest.approx(2 * len(single), abs=2)
    assert all(a < b for a, b in pairwise(double))
    assert double[-1] == pytest.approx(2 * single[-1], abs=0.3)
    rest = list(video.frames(Source.parse(str(joined)), video.FrameSelection(start=2.0)))
    assert [frame.seconds for frame in rest] == [seconds for seconds in double if seconds >= 1.98]
    assert [frame.number for frame in rest] == list(range(len(double) - len(rest), len(double)))
    assert frame_times(joined, start=4.0)[0] == pytest.approx(4.0, abs=0.05)


def test_should_stop_and_close_end_decoding(clip):
    calls = []
    selection = video.FrameSelection(seconds=1e6)
    assert (
        list(
            video.frames(
                Source.parse(str(clip[0])), selection, should_stop=lambda: not calls.append(1)
            )
        )
        == []
    )
    assert len(calls) == 1
    # Closing the iterator ends decoding as well.
    frames = video.frames(Source.parse(str(clip[0])), selection)
    next(frames)
    frames.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate()]


def test_missing_number_of_a_sequence_is_an_error(tmp_path, sample_faces):
    for k in (1, 2, 4):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{k:04d}.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))
    Image.new("RGB", (64, 48)).save(tmp_path / "20240115123456.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))


def test_every_and_seconds_exclude_each_other():
    with pytest.raises(UserError, match="one of the two"):
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
    worst = 25 if suffix == "jpg" else 3
    for frame, pixels in zip(frames, originals, strict=True):
        assert abs(frame.pixels.astype(int) - pixels).mean() < worst
    assert frame_times(pattern[:-3]) == pytest.approx([k / 25 for k in range(len(originals))])
    assert frame_times(pattern, start=0.5) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_sequence_without_files_is_an_error(mien, tmp_path, tiny_model):
    for pattern in (tmp_path / "%04d.png", tmp_path / "none" / "%04d.png@30"):
        code, _, err = mien("analyze", pattern, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "%04d" in err


def test_every_and_seconds_select_frames(clip):
    path, truths = clip
    assert frame_times(path, every=5) == [t.seconds for t in truths[::5]]
    times = frame_times(path, seconds=0.25)
    assert len(times) == 4
    assert all(b - a == pytest.approx(0.25, abs=0.041) for a, b in pairwise(times))


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("seconds", [0.06, 0.08, 0.11, 0.2])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_selection_does_not_depend_on_where_reading_begins(
    tmp_path, sample_faces, variable, seconds, start
):
    path = tmp_path / "a.mp4"
    originals = clips.frames("one", sample_faces, size=(64, 48), seconds=1, variable=variable)
    clip_files.encode(path, originals)
    selection = video.FrameSelection(seconds=seconds, start=start)
    frames = [(f.number, f.seconds) for f in video.frames(Source.parse(str(path)), selection)]
    assert len(frames) > 3
    for k, frame in enumerate(frames):
        rest = video.frames(Source.parse(str(path)), selection.starting_at(*frame))
        assert [(f.number, f.seconds) for f in rest] == frames[k:]


def test_start_and_end_select_a_range(clip):
    path, _ = clip
    frames = list(video.frames(Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)))
    assert [f.seconds for f in frames] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56, 0.6])
    assert [f.number for f in frames] == [10, 11, 12, 13, 14, 15]
    all_frames = list(video.frames(Source.parse(str(path))))
    assert np.array_equal(frames[0].pixels, all_frames[10].pixels)
    with pytest.raises(UserError, match=r"no frame from 99 s on; the last frame read is at 1\.0 s"):
        frame_times(path, start=99)


def test_truncated_file_gives_its_frames_and_a_warning(clip):
    path, truths = clip
    errors = []
    frames = list(
        video.frames(Source.parse(str(clip_files.truncated(path, 0.5))), on_error=errors.append)
    )
    assert 0 < len(frames) < len(truths)
    assert "is truncated: no frame could be read after 0." in str(errors[-1])


def test_reading_continues_after_damage(tmp_path, sample_faces):
    path = tmp_path / "long.mp4"
    truths = clip_files.encode(
        path, clips.frames("one", sample_faces, size=(320, 180), seconds=6), fps=25
    )
    errors = []
    frames = list(
        video.frames(
            Source.parse(str(clip_files.corrupted(path, 0.4, 3000))), on_error=errors.append
        )
    )
    assert len(truths) / 2 < len(frames)
    assert frames[-1].seconds > 5.5
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(set(seconds))
    assert len(errors) < 20


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"", "as a video"), (b"not a video at all" * 99, "as a video")],
)
def test_unreadable_video_is_an_error(tmp_path, body, message):
    path = tmp_path / "x.mp4"
    path.write_bytes(body)
    with pytest.raises(UserError, match=message):
        next(video.frames(Source.parse(str(path))))
    with pytest.raises(UserError, match="file not found"):
        Source.parse(str(tmp_path / "nowhere.mp4"))


def test_file_with_only_audio_is_an_error(clip):
    path, _ = clip
    with pytest.raises(UserError, match="no video stream"):
        next(video.frames(Source.parse(str(clip_files.without_video(path)))))


def test_prefetch_is_bounded_and_ends_with_its_reader(clip, monkeypatch):
    path, _ = clip
    monkeypatch.setattr(prefetch, "MAX_PREFETCHED_PIXELS", 3 * 320 * 180)
    decoded = []
    convert = video.RgbConverter.__call__
    monkeypatch.setattr(
        video.RgbConverter, "__call__", lambda self, p: decoded.append(p) or convert(self, p)
    )
    frames = video.frames(Source.parse(str(path)))
    next(frames)
    time.sleep(0.3)
    assert len(decoded) <= 6
    frames.close()
    assert not [t for t in threading.enumerate() if t.name == "decoder"]


def test_reader_can_be_closed_in_the_decoder_thread(clip, monkeypatch):
    """Garbage collection closes an abandoned iterator in any thread."""
    suspended, closed, errors, count = threading.Event(), threading.Event(), [], iter(range(99))

    def convert(_, av_frame):
        if next(count) == 1 and suspended.wait(10):
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
    errors = []
    assert not list(
        video.frames(Source.parse(str(path)), on_error=errors.append, max_pixels=8_000_000)
    )
    assert "no frame could be read" in str(errors[0])
    frames = video.frames(Source.parse(str(path)), on_error=errors.append, max_pixels=10_000_000)
    assert [frame.pixels.shape for frame in frames] == [(3000, 3000, 3)] * 2


def test_probe_reads_duration_size_and_rate(clip):
    info = video.probe(Source.parse(str(clip[0])))
    assert info.seconds == pytest.approx(1, abs=0.05)
    assert (info.width, info.height, info.rate) == (320, 180, 25)


def test_damage_in_the_middle_is_not_reported_as_truncation(tmp_path, sample_faces):
    path = tmp_path / "whole.mp4"
    clip_files.encode(path, clips.frames("one", sample_faces, size=(320, 180), seconds=6))
    errors = []
    times = times_with_errors(clip_files.corrupted(path, 0.5, 3000), errors)
    assert times[-1] == pytest.approx(5.96, abs=0.1)
    assert errors
    assert not [error for error in errors if "truncated" in str(error)]
    if gaps := [str(error) for error in errors if "no frame could be read between" in str(error)]:
        begin, end = map(float, re.findall(r"(\d+\.\d) ", gaps[0])[-2:])
        assert 2 < begin < end < 5.96


def times_with_errors(path, errors):
    return [
        frame.seconds for frame in video.frames(Source.parse(str(path)), on_error=errors.append)
    ]


@pytest.mark.parametrize("steps", [{"every": 0}, {"every": -2}, {"seconds": -0.1}])
def test_steps_out_of_range_are_an_error(steps):
    with pytest.raises(UserError, match="Cannot select"):
        package.FrameSelection(**steps)
