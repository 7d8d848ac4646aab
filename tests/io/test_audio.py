"""The audio of annotated videos."""

from fractions import Fraction

import av
import numpy as np
import pytest

from mien import writers
from mien.io import audio, video
from mien.io.source import Source
from mien.results import Frame, Result
from tests.io.video_files import frame_times, make_face, write_with_sound
from tests.synthetic import clip_files, clips, tracking_scores


@pytest.mark.parametrize("is_copied", [True, False])
def test_audio_continues_when_timestamps_restart(tmp_path, sample_faces, is_copied, monkeypatch):
    if not is_copied:
        monkeypatch.setattr(audio, "COPIED_CODECS", ())
    frames = clips.frames("one", sample_faces, size=(320, 180), seconds=3)
    clip_files.encode(tmp_path / "one.ts", frames, sound=True)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    with writers.open_writer(tmp_path / "x.mp4") as write:
        for frame in video.frames(Source.parse(str(joined))):
            write(Result(frame, []))
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(6.0, abs=0.3)


def test_audio_is_copied_only_from_video_files(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "copy_audio", lambda *_: pytest.fail("audio was copied"))
    black = np.zeros((48, 64, 3), np.uint8)
    for kind, location in (
        ("stream", "rtsp://cam/live"), ("camera", "0"), ("sequence", "%d.png"), ("image", "a.png"),
        ("video", ""),  # frames that a program reads from a file that mien does not know
    ):  # fmt: skip
        with writers.open_writer(tmp_path / "x.mp4") as write:
            write(Result(Frame(black, "a", kind=kind, location=location), []))


def test_annotated_video_keeps_timestamps_audio_and_size(clip, tmp_path):
    path, truths = clip
    with writers.open_writer(tmp_path / "out.mp4") as write:
        for frame in video.frames(Source.parse(str(path))):
            write(Result(frame, [make_face()]))
    assert tracking_scores.time_error(truths, frame_times(tmp_path / "out.mp4")) < 1e-3
    with av.open(str(tmp_path / "out.mp4")) as out, av.open(str(path)) as source:
        output_packets, source_packets = (
            [bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (out, source)
        )
        assert output_packets == source_packets
    annotated, original = (
        next(video.frames(Source.parse(str(p)))) for p in (tmp_path / "out.mp4", path)
    )
    assert annotated.pixels.shape == original.pixels.shape


def test_annotated_range_begins_at_zero_and_has_its_audio(clip, tmp_path):
    path, _ = clip
    with writers.open_writer(tmp_path / "cut.mp4") as write:
        for frame in video.frames(
            Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)
        ):
            write(Result(frame, [make_face()]))
    assert frame_times(tmp_path / "cut.mp4") == pytest.approx(
        [0.04 * k for k in range(6)], abs=1e-3
    )
    with av.open(str(tmp_path / "cut.mp4")) as cut:
        (stream,) = cut.streams.audio
        seconds = [float(p.pts * stream.time_base) for p in cut.demux(stream) if p.size]
    assert -audio.MAX_EARLY_SECONDS - 0.01 < seconds[0] < 0.03
    assert seconds[-1] == pytest.approx(6 * 0.04, abs=0.05)


def test_unknown_audio_codec_is_reported_and_the_video_is_written(tmp_path):
    path = tmp_path / "clip.mkv"
    write_with_sound(path, 0)
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_ZZZ"))
    results = [Result(frame, []) for frame in video.frames(Source.parse(str(path)))]
    with writers.open_writer(tmp_path / "x.mp4") as write:
        with pytest.warns(UserWarning, match=r"clip\.mkv .* codec"):
            write(results[0])
        for result in results[1:]:
            write(result)
    assert len(frame_times(tmp_path / "x.mp4")) == len(frame_times(path))


def test_audio_that_cannot_be_read_to_its_end_is_reported(clip, tmp_path, monkeypatch):
    def demux_20_packets(container, stream):
        yield from list(container.demux(stream))[:20]
        raise av.error.InvalidDataError(1, "damaged")

    monkeypatch.setattr(audio, "demux", demux_20_packets)
    errors = []
    with av.open(str(tmp_path / "x.mp4"), "w") as out:
        for _ in audio.copy_audio(str(clip[0]), 0.0, out, "clip.mp4", errors.append):
            pass
    (error,) = map(str, errors)
    assert "clip.mp4" in error
    assert "0.4 s" in error  # 20 packets of 1024 samples


RATE, TONE_HERTZ = 44_100, 700
"""Samples per second and frequency of the tone of `write_tone`."""


def write_tone(path, codec, channels, packet_samples=4096):
    """Write one second of black frames, with a tone in packets of `packet_samples` samples."""
    layout = "mono" if channels == 1 else "stereo"
    tone = (9000 * np.sin(2 * np.pi * TONE_HERTZ * np.arange(RATE) / RATE)).astype(np.int16)
    with av.open(str(path), "w") as out:
        video_stream = out.add_stream("mpeg4", rate=25)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 96, 96, "yuv420p"
        audio_stream = out.add_stream(codec, rate=RATE, layout=layout)
        for _ in range(25):
            av_frame = av.VideoFrame.from_ndarray(np.zeros((96, 96, 3), np.uint8), format="rgb24")
            out.mux(video_stream.encode(av_frame))
        audio_frame = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None], "s16", layout)
        audio_frame.rate, audio_frame.pts = RATE, 0
        sample_format = audio_stream.codec_context.format.name
        resampler = av.AudioResampler(sample_format, layout, RATE, packet_samples)
        for resampled in [*resampler.resample(audio_frame), *resampler.resample(None)]:
            out.mux(audio_stream.encode(resampled))
        for stream in (video_stream, audio_stream):
            out.mux(stream.encode())


def annotated_audio(path, selection, out):
    """Write an annotated video; return the start times and the samples of its AAC audio."""
    with writers.open_writer(out) as write:
        for frame in video.frames(Source.parse(str(path)), selection, lambda _: None):
            write(Result(frame, []))
    with av.open(str(out)) as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        frames = list(container.decode(stream))
    starts = [float(frame.pts * frame.time_base) for frame in frames]
    return starts, np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


@pytest.mark.parametrize(
    ("suffix", "codec", "channels", "packet_samples"),
    [("avi", "pcm_s16le", 1, 4096), ("mkv", "flac", 2, 4096), ("mkv", "pcm_s16le", 2, RATE)],
)
@pytest.mark.parametrize(
    ("selection", "seconds"),
    [(video.FrameSelection(), 1.0), (video.FrameSelection(start=0.4, end=0.6), 0.24)],
)
def test_unsupported_audio_is_encoded_as_aac(
    tmp_path, suffix, codec, channels, packet_samples, selection, seconds
):
    path = tmp_path / f"in.{suffix}"
    write_tone(path, codec, channels, packet_samples)
    starts, samples = annotated_audio(path, selection, tmp_path / "out.mp4")
    assert len(samples) == channels
    assert starts[0] == pytest.approx(0, abs=0.03)
    assert samples.shape[1] / 48_000 == pytest.approx(seconds, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert spectrum.argmax() * 48_000 / samples.shape[1] == pytest.approx(TONE_HERTZ, abs=8)


def test_audio_continues_when_its_format_changes(tmp_path):
    halves = [tmp_path / "mono.ts", tmp_path / "stereo.ts"]
    for path, channels in zip(halves, (1, 2), strict=True):
        write_tone(path, "mp2", channels)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(path.read_bytes() for path in halves))
    _, samples = annotated_audio(both, video.FrameSelection(), tmp_path / "out.mp4")
    near_the_end = samples[0, -9_600:-4_800]  # 0.2 to 0.1 s before it
    assert np.abs(near_the_end).max() > 0.1


def test_audio_continues_after_damage(tmp_path):
    path = tmp_path / "in.mkv"
    write_tone(path, "flac", 1)
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(container.streams.audio[0])]
    body = bytearray(path.read_bytes())
    body[positions[3] + 20 : positions[3] + 400] = bytes(380)  # within the fourth packet
    path.write_bytes(body)
    starts, _ = annotated_audio(path, video.FrameSelection(), tmp_path / "out.mp4")
    assert starts[-1] > 0.9


def test_only_backward_steps_of_audio_times_are_corrected():
    to_continuous = audio._time_mapper(Fraction(1, 100))  # times are in 1/100 s
    # The gap from -200 to 0 remains; the step back from 100 to -300 is a restart.
    assert [to_continuous(time, 50) for time in (-300, -250, 0, 50, -300, -250)] == [
        -300, -250, 0, 50, 100, 150,
    ]  # fmt: skip
