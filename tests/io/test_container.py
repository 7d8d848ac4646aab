"""The streams of a container that are read, and its second 0."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from mien.errors import UserError
from mien.io import video
from mien.io.container import audio_stream, open_video, start_time
from mien.io.frame_selection import EARLY_TOLERANCE
from mien.io.source import Source
from tests.io.video_files import copy_packets, read, write_video, write_with_sound

DEFAULT = av.stream.Disposition.default


def gray(value, width=64, height=48):
    return np.full((height, width, 3), value, np.uint8)


def write_streams(path, sizes, dispositions, codec="libx264"):
    """Write a video stream per size; all pixels of stream k are 60 * (k + 1)."""
    with av.open(str(path), "w") as out:
        streams = []
        for (width, height), disposition in zip(sizes, dispositions, strict=True):
            stream = out.add_stream(codec, 25, width=width, height=height, pix_fmt="yuv420p")
            stream.disposition = disposition
            streams.append(stream)
        for k in range(5):
            for number, stream in enumerate(streams):
                image = gray(60 * (number + 1), stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("sizes", "dispositions", "expected"),
    [
        ([(64, 48), (128, 96)], [0, 0], (128, 96)),
        ([(64, 48), (128, 96)], [DEFAULT, 0], (64, 48)),
        ([(128, 96), (64, 48)], [0, DEFAULT], (64, 48)),
        ([(64, 48), (128, 96)], [DEFAULT, DEFAULT], (128, 96)),
    ],
)
def test_default_or_largest_stream_is_read(tmp_path, sizes, dispositions, expected):
    path = tmp_path / "a.mkv"
    write_streams(path, sizes, dispositions)
    frames = read(path)
    assert [frame.pixels.shape[1::-1] for frame in frames] == [expected] * 5
    assert frames[0].pixels.mean() == pytest.approx(60 * (sizes.index(expected) + 1), abs=3)
    info = video.probe(Source.parse(str(path)))
    assert (info.width, info.height) == expected


@pytest.mark.parametrize(
    "disposition", [av.stream.Disposition.attached_pic, DEFAULT], ids=["marked", "unmarked"]
)  # unmarked cover art is recognized because its stream has only one frame
def test_cover_art_is_not_read_as_the_video(tmp_path, clip, disposition):
    path = tmp_path / "a.mp4"
    Image.fromarray(gray(200, 800, 800)).save(tmp_path / "cover.png")
    with (
        av.open(str(clip[0])) as movie,
        av.open(str(tmp_path / "cover.png")) as cover,
        av.open(str(path), "w") as out,
    ):
        art = out.add_stream_from_template(cover.streams.video[0])
        art.disposition = disposition
        copy = out.add_stream_from_template(movie.streams.video[0])
        copy.disposition = 0
        for source, stream in ((cover, art), (movie, copy)):
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    assert {frame.pixels.shape for frame in read(path)} == {(180, 320, 3)}


def test_default_audio_stream_is_chosen(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("aac", rate=48_000, layout=name) for name in ("mono", "stereo")]
        streams[0].disposition, streams[1].disposition = DEFAULT, 0
        for stream, channels in zip(streams, (1, 2), strict=True):
            samples = np.zeros((channels, 4096), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", stream.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert audio_stream(container).index == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.ts"])
@pytest.mark.parametrize(
    ("video_start", "audio_start", "first"), [(0, 0, 0), (1.5, 0, 1.5), (3601.5, 3600, 1.5)]
)
def test_seconds_count_from_the_start_of_the_file(tmp_path, name, video_start, audio_start, first):
    path = tmp_path / name
    write_with_sound(path, video_start, audio_start)
    expected = [first + k / 25 for k in range(25)]
    frames = read(path)
    assert [frame.seconds for frame in frames] == pytest.approx(expected, abs=0.05)
    assert frames[0].seconds >= first - 1e-6
    rest = read(path, start=first + 0.4)
    # Frames that are early by half of their duration are read; times are rounded by up to 5 ms.
    earliest = first + 0.4 - EARLY_TOLERANCE / 25 - 0.005
    assert [f.number for f in rest] == [f.number for f in frames if f.seconds >= earliest]
    assert np.array_equal(rest[-1].pixels, frames[-1].pixels)
    info = video.probe(Source.parse(str(path)))
    assert info.first == pytest.approx(first, abs=0.05)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts", "a.flv"])
def test_timestamps_that_start_at_an_hour_count_from_zero(tmp_path, name):
    path, images = tmp_path / name, [gray(4 * k) for k in range(40)]
    times = [Fraction(3600) + Fraction(k, 25) for k in range(40)]
    write_video(path, images, times=times, tick=Fraction(1, 1000), options={"bf": "0"})
    assert [f.seconds for f in read(path)] == pytest.approx([k / 25 for k in range(40)], abs=2e-3)


def test_trimmed_mp4_begins_at_its_edit_list(tmp_path):
    images = [gray(2 * k) for k in range(100)]
    write_video(tmp_path / "a.mp4", images, options={"g": "100", "bf": "0"})
    copy_packets(tmp_path / "a.mp4", tmp_path / "b.mp4", shift=2)
    frames = read(tmp_path / "b.mp4")
    assert [frame.seconds for frame in frames] == pytest.approx([k / 25 for k in range(50)])
    assert [frame.number for frame in frames] == list(range(50))
    assert frames[0].pixels.mean() == pytest.approx(2 * 50, abs=3)
    rest = read(tmp_path / "b.mp4", start=1.2)
    assert [(f.number, f.seconds) for f in rest] == [(f.number, f.seconds) for f in frames[30:]]


def test_start_time_is_that_of_the_stream(tmp_path, clip):
    with open_video(Source.parse(str(clip[0]))) as (container, stream):
        assert start_time(container) == stream.start_time * stream.time_base == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_metadata_in_another_encoding_is_no_error(tmp_path, name):
    with av.open(str(tmp_path / name), "w") as out:
        out.metadata["title"] = "Caf\xe9"
        stream = out.add_stream("mpeg4", 25, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(gray(9), format="rgb24")))
        out.mux(stream.encode(None))
    body = (tmp_path / name).read_bytes()
    # Invalid UTF-8 of the same length.
    (tmp_path / name).write_bytes(body.replace(b"Caf\xc3\xa9", b"Caf\xe9\xe8"))
    assert b"Caf\xe9" in (tmp_path / name).read_bytes()
    assert len(read(tmp_path / name)) == 5


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_unknown_video_codec_is_an_error(tmp_path, name):
    write_video(tmp_path / name, [gray(9)] * 5)
    body = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(body.replace(b"avc1", b"zzz9").replace(b"H264", b"zzz9"))
    with pytest.raises(UserError, match="codec"):
        read(tmp_path / name)


def test_audio_stream_that_the_header_does_not_list_is_no_error(tmp_path):
    write_video(tmp_path / "a.flv", [gray(9)] * 250, codec="flv")
    write_with_sound(tmp_path / "b.flv", 0)
    body, with_sound = ((tmp_path / name).read_bytes() for name in ("a.flv", "b.flv"))
    header_bytes = 13
    (tmp_path / "a.flv").write_bytes(body + with_sound[header_bytes:])
    with av.open(str(tmp_path / "a.flv")) as container:
        assert not container.streams.audio  # the header is read only up to a limit
    assert len(read(tmp_path / "a.flv")) >= 250
