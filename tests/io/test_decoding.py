"""Damage is reported, and reading continues; unusual but intact files are not reported."""

import random
from fractions import Fraction

import av
import numpy as np
import pytest

from mien.io import video
from mien.io.source import Source
from tests.io.video_files import copy_packets, read, write_video

GOP = {"g": "12", "bf": "2"}
"""Options for a key frame every 12 frames, and two B-frames between other frames."""

TRANSPORT_PACKET = 188
"""Size in bytes of a packet of an MPEG transport stream."""


@pytest.fixture(scope="module")
def images():
    """60 images of a moving texture."""
    texture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    return [np.roll(texture, 3 * k, axis=1) for k in range(60)]


def irregular_times(count):
    """Return times of a variable frame rate, with pauses."""
    steps = [Fraction(1, 25)] * 10 + [Fraction(3, 25)] * 5 + [Fraction(1)]
    times = [Fraction(0)]
    while len(times) < count:
        times.append(times[-1] + steps[len(times) % len(steps)])
    return times


FORMATS = [
    ("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.webm", "libvpx"),
    ("a.avi", "mpeg4"), ("a.avi", "mjpeg"), ("a.mov", "prores_ks"), ("a.flv", "libx264"),
]  # fmt: skip


def encode(path, codec, images, **arguments):
    """Write a video with options that suit its codec, and return its path."""
    pixel_format = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
    options = {} if codec in ("mjpeg", "prores_ks") else dict(GOP)
    options |= {"bf": "0"} if codec == "mpeg4" else {}
    options |= {"auto-alt-ref": "1", "lag-in-frames": "16"} if codec == "libvpx" else {}
    write_video(path, images, codec=codec, pixel_format=pixel_format, options=options, **arguments)
    return path


def without_start(body, position):
    """Return a transport stream without the data before a byte position, except its tables."""
    tables = body[: 3 * TRANSPORT_PACKET]  # SDT, PAT and PMT
    return tables + body[position // TRANSPORT_PACKET * TRANSPORT_PACKET :]


@pytest.mark.parametrize(("name", "codec"), FORMATS)
@pytest.mark.parametrize("is_variable", [False, True])
def test_frame_number_after_start_is_the_index_in_the_file(
    tmp_path, images, name, codec, is_variable
):
    times = irregular_times(len(images)) if is_variable else None
    # AVI has no timestamps, only empty frames; with a fine tick, there would be many.
    tick = Fraction(1, 1000) if is_variable and not name.endswith("avi") else None
    path = encode(tmp_path / name, codec, images, times=times, tick=tick)
    frames = [(f.number, f.seconds) for f in read(path)]
    assert [number for number, _ in frames] == list(range(len(images)))
    for start in (0.05, 0.5, 1.0, 1.97, frames[-1][1]):
        rest = [(f.number, f.seconds) for f in read(path, start=start)]
        average_duration = frames[-1][1] / (len(frames) - 1)
        assert rest[0][1] >= start - average_duration
        assert rest == frames[len(frames) - len(rest) :]


@pytest.mark.parametrize(("name", "codec"), FORMATS)
def test_dropped_frames_are_no_damage(tmp_path, images, name, codec):
    times = [Fraction(k if k <= 20 else k + 10, 25) for k in range(len(images))]
    path = encode(tmp_path / name, codec, images, times=times)
    assert [f.seconds for f in read(path)] == pytest.approx([float(t) for t in times], abs=2e-3)


def test_no_frame_of_an_avi_file_with_b_frames_is_lost(tmp_path):
    images = [np.full((64, 96, 3), 4 * k, np.uint8) for k in range(60)]
    path = tmp_path / "a.avi"
    # AVI states no presentation times, and FFmpeg guesses them in the order of decoding.
    write_video(path, images, options={"g": "12", "bf": "2"})
    frames = read(path)
    seconds = [frame.seconds for frame in frames]
    assert len(frames) == 60
    assert seconds == sorted(set(seconds))
    assert seconds == pytest.approx([k / 25 for k in range(60)], abs=3 / 25)
    assert [frame.pixels.mean() for frame in frames] == pytest.approx(range(0, 240, 4), abs=3)
    later = read(path, start=1.0)
    assert [frame.number for frame in later] == list(range(later[0].number, 60))


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.mov", "b.avi", "b.flv"])
@pytest.mark.parametrize("shift", [0, 1])
def test_lossless_trim_is_no_damage(tmp_path, images, name, shift):
    codec = "mpeg4" if name == "b.avi" else "libx264"
    path = encode(tmp_path / f"a{name[1:]}", codec, images)
    # Frame 24 is a key frame. In MP4 and MOV, negative times become an edit list.
    options = {"avoid_negative_ts": "disabled" if name in ("b.mp4", "b.mov") else "make_zero"}
    copy_packets(path, tmp_path / name, shift, keep=lambda k: k >= 24, **options)
    # Frames that depend on missing ones, or are before the edit list, may be left out.
    assert 30 <= len(read(tmp_path / name)) <= len(images) - 24


def test_recording_that_begins_between_key_frames_is_no_damage(tmp_path, images):
    write_video(tmp_path / "a.ts", images, options={"g": "20", "bf": "0"})
    body = (tmp_path / "a.ts").read_bytes()
    with av.open(str(tmp_path / "a.ts")) as container:
        positions = [p.pos for p in container.demux(video=0) if p.pos is not None]
    (tmp_path / "b.ts").write_bytes(
        without_start(body, positions[7])
    )  # key frames are 0, 20 and 40
    assert len(read(tmp_path / "b.ts")) >= len(images) - 20  # all from the next key frame on


@pytest.mark.parametrize("field", [b"mdhd", b"mvhd", b"tkhd"])
@pytest.mark.parametrize("factor", [0.5, 3])
def test_wrong_duration_is_no_damage(tmp_path, images, field, factor):
    path = encode(tmp_path / "a.mp4", "libx264", images)
    body = bytearray(path.read_bytes())
    # Offset of the duration from the name of the box, in version 0.
    offset = body.index(field) + (24 if field == b"tkhd" else 20)
    duration = int.from_bytes(body[offset : offset + 4], "big")
    body[offset : offset + 4] = round(duration * factor).to_bytes(4, "big")
    path.write_bytes(body)
    assert len(read(path)) == len(images)


@pytest.mark.parametrize("count", [0, 10, 1000])
def test_wrong_frame_count_is_no_damage(tmp_path, images, count):
    path = encode(tmp_path / "a.avi", "mjpeg", images)
    body = bytearray(path.read_bytes())
    # The number of frames in the header of the file and in that of the stream.
    for offset in (body.index(b"avih") + 24, body.index(b"strh") + 40):
        body[offset : offset + 4] = count.to_bytes(4, "little")
    path.write_bytes(body)
    assert len(read(path)) == len(images)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"),
                        ("a.avi", "mjpeg"), ("a.flv", "libx264")]
)  # fmt: skip
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_truncated_file_is_reported(tmp_path, images, name, codec, start):
    path = encode(tmp_path / name, codec, images)
    if name == "a.mp4":  # without its index, which is at the end by default, it is unreadable
        copy_packets(path, tmp_path / "b.mp4", movflags="faststart")
        path = tmp_path / "b.mp4"
    body = path.read_bytes()
    path.write_bytes(body[: int(0.7 * len(body))])
    errors = []
    frames = read(path, errors, start=start)
    assert frames
    assert len(frames) < len(images)
    assert len(errors) == 1
    assert "truncated" in str(errors[0])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg2video")],
)
@pytest.mark.parametrize("seed", range(4))
def test_damage_is_reported_and_decoding_continues(tmp_path, images, name, codec, seed):
    path = encode(tmp_path / name, codec, images)
    body, rng = bytearray(path.read_bytes()), random.Random(seed)
    offset = int(len(body) * rng.uniform(0.3, 0.6))
    body[offset : offset + 1500] = rng.randbytes(1500)
    path.write_bytes(body)
    errors = []
    frames = read(path, errors)
    assert errors
    assert "damaged" in str(errors[0])
    assert frames[-1].seconds > 2
    assert len(frames) > 40


def test_probe_of_a_trimmed_video_reads_its_duration(tmp_path, images):
    path = encode(tmp_path / "a.mp4", "libx264", images)
    copy_packets(path, tmp_path / "b.mp4", shift=1)  # the edit list leaves out the first second
    info = video.probe(Source.parse(str(tmp_path / "b.mp4")))
    assert info.seconds == pytest.approx(len(images) / 25 - 1, abs=0.05)


def test_recording_of_a_broadcast_may_end_anywhere(tmp_path, images):
    write_video(tmp_path / "a.ts", images, options={"g": "12", "bf": "0"})
    body = (tmp_path / "a.ts").read_bytes()
    packet_count = len(body) // TRANSPORT_PACKET
    for kept in range(packet_count // 2, packet_count, 29):  # some ends in the second half
        (tmp_path / "b.ts").write_bytes(body[: kept * TRANSPORT_PACKET])
        assert len(read(tmp_path / "b.ts")) > 20


def test_video_without_a_readable_frame_is_reported(tmp_path, images):
    write_video(tmp_path / "a.ts", images, options={"g": "60", "bf": "0"})
    with av.open(str(tmp_path / "a.ts")) as container:
        second_packet = [packet.pos for packet in container.demux(video=0)][1]
    body = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "b.ts").write_bytes(without_start(body, second_packet))  # without a key frame
    errors = []
    assert read(tmp_path / "b.ts", errors) == []
    (error,) = map(str, errors)
    assert "b.ts" in error
