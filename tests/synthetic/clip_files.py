"""Write synthetic clips to files, with exact timestamps, audio and rotation; damage files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.synthetic.clips import Truth

TICK = Fraction(1, 60_000)
"""Unit of timestamps in seconds. MPEG-4 supports it, and common frame intervals are multiples."""

RATE = 48_000
"""Audio samples per second."""

OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libx265": {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0"},
    "mpeg4": {"qmin": "2", "qmax": "5"},
    "mjpeg": {"qmin": "2", "qmax": "5"},
}
"""Codec options for fast encoding with sufficient quality."""


def encode(
    path: Path,
    frames: Iterable[tuple[np.ndarray, Truth]],
    fps: int = 25,
    codec: str = "libx264",
    rotation: int = 0,
    sound: bool = False,
    index_first: bool = True,
) -> list[Truth]:
    """Write a clip to a file whose suffix determines the format.

    Args:
        path: The file to write.
        frames: Pixels, (H, W, 3) uint8 RGB, and ground truth of each frame, at its `seconds`.
        fps: Nominal frames per second, in the header.
        codec: A codec of `OPTIONS`.
        rotation: 0, 90, 180 or 270. The pixels are stored rotated, with a display matrix that
            rotates them back by this number of degrees, counter-clockwise.
        sound: Whether to add a tone of the duration of the video.
        index_first: Whether the index of an .mp4 or .mov is at the start, so that the file can be
            read if its end is missing.

    Returns:
        The ground truth, with the timestamps as stored in the file.
    """
    # AVI has a constant frame rate; with a finer unit, the file would contain empty frames.
    tick = Fraction(1, fps) if path.suffix == ".avi" else TICK
    options = {"movflags": "faststart"} if index_first and path.suffix in (".mp4", ".mov") else {}
    frames = iter(frames)
    first = next(frames)
    written = []
    with av.open(str(path), "w", options=options) as file:
        height, width = _rotated(first[0], -rotation).shape[:2]
        video = file.add_stream(codec, fps, OPTIONS[codec], width=width, height=height,
                                time_base=tick, thread_count=1, gop_size=2 * fps,
                                bit_rate=0 if "crf" in OPTIONS[codec] else 4_000_000)  # fmt: skip
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.set_display_rotation(rotation)
        audio = _add_audio_stream(file, path.suffix) if sound else None
        for pixels, truth in itertools.chain([first], frames):
            frame = av.VideoFrame.from_ndarray(_rotated(pixels, -rotation), format="rgb24")
            frame.pts, frame.time_base = round(truth.seconds / tick), tick
            file.mux(video.encode(frame))
            written.append((frame.pts * tick, truth))
        file.mux(video.encode(None))
        if audio:
            file.mux(audio.encode(_tone(written[-1][0] + Fraction(1, fps))))
            file.mux(audio.encode(None))
        time_base = video.time_base  # some formats have a coarser one, such as WebM
    # Like FFmpeg, round to the nearest multiple of the time base, and halves up.
    return [
        replace(truth, seconds=float((seconds / time_base + Fraction(1, 2)) // 1 * time_base))
        for seconds, truth in written
    ]


def _rotated(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """Rotate pixels counter-clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, degrees // 90))


def _add_audio_stream(file: av.container.OutputContainer, suffix: str) -> av.AudioStream:
    codec = {".webm": "libopus", ".avi": "pcm_s16le"}.get(suffix, "aac")
    return file.add_stream(codec, RATE, layout="mono")


def _tone(seconds: Fraction) -> av.AudioFrame:
    """A quiet tone of 440 Hz."""
    wave = 0.2 * np.sin(2 * np.pi * 440 / RATE * np.arange(round(seconds * RATE)))
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


def truncated(path: Path, fraction: float) -> Path:
    """Write a copy with only the first `fraction` of the bytes to the same folder."""
    body = path.read_bytes()
    truncated_path = path.with_stem(f"{path.stem}-truncated")
    truncated_path.write_bytes(body[: int(fraction * len(body))])
    return truncated_path


def corrupted(path: Path, start_fraction: float = 0.5, length: int = 2000, seed: int = 0) -> Path:
    """Write a copy to the same folder, with random bytes in one place.

    Args:
        path: The file.
        start_fraction: Position of the first random byte as a fraction of the size.
        length: Number of random bytes.
        seed: Seed of the random bytes.
    """
    body = bytearray(path.read_bytes())
    start = int(start_fraction * len(body))
    end = min(len(body), start + length)
    body[start:end] = np.random.default_rng(seed).bytes(end - start)
    corrupted_path = path.with_stem(f"{path.stem}-corrupted")
    corrupted_path.write_bytes(body)
    return corrupted_path


def without_video(path: Path) -> Path:
    """Write a copy that contains only the audio to the same folder."""
    audio_only = path.with_stem(f"{path.stem}-audio")
    with av.open(str(path)) as source, av.open(str(audio_only), "w") as copy:
        audio = source.streams.audio[0]
        stream = copy.add_stream_from_template(audio)
        for packet in source.demux(audio):
            if packet.dts is not None:  # the last packet is empty
                packet.stream = stream
                copy.mux(packet)
    return audio_only
