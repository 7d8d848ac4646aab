"""Small valid videos and images of many formats."""

from __future__ import annotations

import io
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import ExifTags, Image, ImageCms

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder prints only errors

WIDTH, HEIGHT, FRAMES, FPS = 64, 48, 12, 25
"""Size in pixels, number of frames, and frames per second of most videos."""

AUDIO_RATE = 48_000
"""Audio samples per second."""

TITLE = "Café, Zoë, naïve façade"
"""Title of the videos, and of images with Exif data; `media_mutations` makes it invalid UTF-8."""


class Format(NamedTuple):
    """Arguments of PyAV for writing a video.

    Attributes:
        suffix: Suffix of the file.
        codec: Video codec.
        pixel_format: Pixel format of the video.
        audio: Audio codec; "" for no audio.
        container: Container format; "" for the one of the suffix.
        options: Options of the container.
        size: Width and height in pixels.
    """

    suffix: str
    codec: str
    pixel_format: str = "yuv420p"
    audio: str = ""
    container: str = ""
    options: dict[str, str] = {}  # noqa: RUF012
    size: tuple[int, int] = (WIDTH, HEIGHT)


FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

VIDEOS = {
    "mp4": Format(".mp4", "libx264", audio="aac"),
    "mp4, index first": Format(".mp4", "libx264", audio="aac", options={"movflags": "faststart"}),
    "mp4, fragmented": Format(".mp4", "libx264", audio="aac", options=FRAGMENTED),
    "mp4, hevc": Format(".mp4", "libx265", audio="aac"),
    "mp4, av1": Format(".mp4", "libsvtav1", audio="libopus"),
    "mp4, mpeg4": Format(".mp4", "mpeg4", audio="libmp3lame"),
    "mov, prores": Format(".mov", "prores_ks", "yuva444p10le", "pcm_s16le"),
    "mov, qtrle": Format(".mov", "qtrle", "argb"),
    "webm, vp8 with alpha": Format(".webm", "libvpx", "yuva420p", "libopus"),
    "webm, vp9": Format(".webm", "libvpx-vp9", audio="libopus"),
    "webm, av1": Format(".webm", "libsvtav1", audio="libopus"),
    "mkv, h264": Format(".mkv", "libx264", audio="ac3"),
    "mkv, ffv1": Format(".mkv", "ffv1", "yuv444p", "flac"),
    "avi, mpeg4": Format(".avi", "mpeg4", audio="libmp3lame"),
    "avi, mjpeg": Format(".avi", "mjpeg", "yuvj420p", "pcm_s16le"),
    "avi, rgb": Format(".avi", "rawvideo", "bgr24"),
    "ts": Format(".ts", "libx264", audio="aac"),
    "ts, mpeg2": Format(".ts", "mpeg2video", audio="mp2"),
    "m2ts": Format(".m2ts", "libx264", audio="ac3", options={"mpegts_m2ts_mode": "1"}),
    "flv": Format(".flv", "flv", audio="libmp3lame"),
    "flv, h264": Format(".flv", "libx264", audio="aac"),
    "mpg, mpeg1": Format(".mpg", "mpeg1video", audio="mp2", container="mpeg"),
    "vob, mpeg2": Format(".vob", "mpeg2video", audio="ac3", container="vob"),
    "wmv": Format(".wmv", "wmv2", audio="wmav2"),
    "asf, msmpeg4": Format(".asf", "msmpeg4", audio="wmav2"),
    "ogv, vp8": Format(".ogv", "libvpx", audio="libopus", container="ogg"),
    "3gp, h263": Format(".3gp", "h263", audio="aac", size=(128, 96)),
    "mxf": Format(".mxf", "mpeg2video", audio="pcm_s16le"),
    "nut": Format(".nut", "libx264", audio="aac"),
    "rm": Format(".rm", "rv10", container="rm"),
    "ivf": Format(".ivf", "libvpx-vp9"),
    "dv": Format(".dv", "dvvideo", size=(720, 576)),
    "y4m": Format(".y4m", "rawvideo", container="yuv4mpegpipe"),
    "h264": Format(".h264", "libx264"),
    "hevc": Format(".hevc", "libx265"),
    "mjpeg": Format(".mjpeg", "mjpeg", "yuvj420p"),
}  # fmt: skip

CODEC_OPTIONS = {
    "libx265": {"x265-params": "log-level=none"},
    "libx264": {"preset": "veryfast"},
    "libvpx": {"auto-alt-ref": "0"},  # required for transparency
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}

Sample = tuple[str, bytes]
"""Suffix of a file, and its bytes."""


def videos() -> dict[str, Sample]:
    """Return all videos by name, including the animations that mien reads as videos.

    Videos whose encoder FFmpeg lacks are omitted, with a message.
    """
    samples: dict[str, Sample] = {}
    for name, video_format in VIDEOS.items():
        try:
            samples[name] = video_format.suffix, _video(video_format)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            print(f"{name} cannot be written here: {error}")
    frames = [Image.fromarray(_pixels(k)) for k in range(FRAMES)]
    for name in ("gif", "apng", "webp", "avif"):
        samples[f"animation, {name}"] = f".{name}", _animation(frames, name)
    return samples


def images() -> dict[str, Sample]:
    """Return images by name, in all formats that mien reads and Pillow writes."""
    rgb = Image.fromarray(_pixels(0))
    alpha = rgb.convert("RGBA")
    alpha.putalpha(Image.fromarray(_pixels(1)[..., 0]))
    gray16 = Image.fromarray(_pixels(0)[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.ImageDescription] = 6, TITLE
    dpi = (72, 72)
    return {
        "jpeg": (".jpg", _image_bytes(rgb, "JPEG", exif=exif, icc_profile=_icc(), dpi=dpi)),
        "jpeg, progressive": (".jpg", _image_bytes(rgb, "JPEG", progressive=True)),
        "jpeg, gray": (".jpg", _image_bytes(rgb.convert("L"), "JPEG", restart_marker_blocks=2)),
        "jpeg, cmyk": (".jpg", _image_bytes(rgb.convert("CMYK"), "JPEG")),
        "mpo": (".mpo", _image_bytes(rgb, "MPO", save_all=True, append_images=[rgb])),
        "png": (".png", _image_bytes(rgb, "PNG", exif=exif, icc_profile=_icc(), dpi=dpi)),
        "png, alpha": (".png", _image_bytes(alpha, "PNG")),
        "png, palette": (".png", _image_bytes(rgb.quantize(64), "PNG", transparency=3)),
        "png, 16 bits": (".png", _image_bytes(gray16, "PNG")),
        "png, 1 bit": (".png", _image_bytes(rgb.convert("1"), "PNG")),
        "gif": (".gif", _image_bytes(rgb.quantize(64), "GIF", transparency=3, comment=b"title")),
        "webp": (".webp", _image_bytes(rgb, "WEBP", exif=exif)),
        "webp, lossless": (".webp", _image_bytes(alpha, "WEBP", lossless=True)),
        "avif": (".avif", _image_bytes(alpha, "AVIF", speed=10, exif=exif)),
        "tiff": (".tif", _image_bytes(rgb, "TIFF", exif=exif)),
        "tiff, deflate": (".tif", _image_bytes(alpha, "TIFF", compression="tiff_deflate")),
        "tiff, lzw": (".tif", _image_bytes(rgb.quantize(64), "TIFF", compression="tiff_lzw")),
        "tiff, jpeg": (".tif", _image_bytes(rgb, "TIFF", compression="jpeg")),
        "tiff, fax": (".tif", _image_bytes(rgb.convert("1"), "TIFF", compression="group4")),
        "tiff, 16 bits": (".tif", _image_bytes(gray16, "TIFF")),
        "tiff, float": (".tif", _image_bytes(rgb.convert("F"), "TIFF")),
        "tiff, pages": (
            ".tif",
            _image_bytes(rgb, "TIFF", save_all=True, append_images=[alpha, gray16]),
        ),
        "bmp": (".bmp", _image_bytes(rgb, "BMP")),
        "bmp, palette": (".bmp", _image_bytes(rgb.quantize(16), "BMP")),
        "dib": (".dib", _image_bytes(alpha, "DIB")),
        "ico": (".ico", _image_bytes(alpha, "ICO", sizes=[(16, 16), (32, 32)])),
        "ico of bmp": (".ico", _image_bytes(alpha, "ICO", sizes=[(16, 16)], bitmap_format="bmp")),
        "jp2": (".jp2", _image_bytes(rgb, "JPEG2000")),
        "j2k": (".j2k", _image_bytes(alpha, "JPEG2000", no_jp2=True)),
        "tga": (".tga", _image_bytes(alpha, "TGA", compression="tga_rle")),
        "ppm": (".ppm", _image_bytes(rgb, "PPM")),
        "pgm, 16 bits": (".pgm", _image_bytes(gray16, "PPM")),
        "pbm": (".pbm", _image_bytes(rgb.convert("1"), "PPM")),
    }


def _pixels(number: int) -> np.ndarray:
    """A frame of a moving gradient with a bright square: (HEIGHT, WIDTH, 3) uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([4 * x, 5 * y, 3 * (x + y) + 8 * number], -1) % 256
    pixels[10:30, 10 + 2 * number : 30 + 2 * number] = 230
    return pixels.astype(np.uint8)


def _video(video_format: Format) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=video_format.suffix) as file:
        write_video(file.name, video_format)
        return Path(file.name).read_bytes()


def write_video(path: str, video_format: Format, frame_count: int = FRAMES) -> None:
    """Write a video of a moving gradient.

    If the format has audio, a tone lasts for the first `FRAMES` frames.
    """
    options = {**video_format.options, "fflags": "+bitexact"}  # no random identifiers
    with av.open(path, "w", video_format.container or None, options=options) as out:
        out.metadata.update(title=TITLE, comment=TITLE)
        stream = out.add_stream(video_format.codec, FPS,
                                options=CODEC_OPTIONS.get(video_format.codec, {}))  # fmt: skip
        stream.width, stream.height = video_format.size
        stream.pix_fmt, stream.gop_size = video_format.pixel_format, 6
        stream.metadata["title"] = TITLE
        audio = None
        if video_format.audio:
            audio = out.add_stream(video_format.audio, AUDIO_RATE, layout="stereo")
            audio.bit_rate = 128_000
        for k in range(frame_count):
            frame = av.VideoFrame.from_ndarray(_pixels(k)).reformat(*video_format.size)
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        if audio:
            _write_tone(out, audio)
        out.mux(stream.encode(None))


def _write_tone(out: av.container.OutputContainer, audio: av.AudioStream) -> None:
    samples = AUDIO_RATE * FRAMES // FPS
    tone = (8000 * np.sin(np.arange(2 * samples) / 20)).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(tone, "s16", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, 0, Fraction(1, AUDIO_RATE)
    out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


def _animation(frames: list[Image.Image], suffix: str) -> bytes:
    return _image_bytes(frames[0], "PNG" if suffix == "apng" else suffix.upper(), save_all=True,
                    append_images=frames[1:], duration=40)  # fmt: skip


def _image_bytes(image: Image.Image, image_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def _icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
