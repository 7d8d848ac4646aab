"""Write and read the videos of tests."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image

from mien.io import video
from mien.io.source import Source
from mien.labels import EMOTIONS
from mien.results import Face
from tests.synthetic import clips


def frame_times(path, **selection):
    """Return the seconds of the selected frames of a file or sequence."""
    return [
        frame.seconds
        for frame in video.frames(Source.parse(str(path)), video.FrameSelection(**selection))
    ]


def write_gif(path, sample_faces, count, **options):
    """Write an animated GIF with `count` frames, and return them before color quantization."""
    clip = clips.frames("one", sample_faces, size=(320, 180), seconds=1)
    originals = [pixels for pixels, _ in clip][:count]
    first, *others = map(Image.fromarray, originals)
    first.save(path, save_all=True, append_images=others, **options)
    return originals


def make_face(face_id=0):
    """Return a face whose shares and smoothed shares are equal for all emotions."""
    emotions = dict.fromkeys(EMOTIONS, 1 / 7)
    return Face((20.0, 20.0, 40.0, 40.0), 0.9, emotions, face_id, smoothed=emotions)


def write_video(path, images, *, times=None, codec="libx264", pixel_format="yuv420p", tick=None,
                matrix=None, options=None, **attributes):  # fmt: skip
    """Write RGB or RGBA images of equal size as a video.

    Args:
        path: The file.
        images: (H, W, 3) or (H, W, 4) uint8 arrays.
        times: Seconds of the images; by default, 25 per second.
        codec: Name of the encoder.
        pixel_format: Pixel format of the stream.
        tick: Unit of the timestamps in seconds, by default 1/25.
        matrix: The coefficients a, b, c and d of the display matrix.
        options: Options of the encoder.
        attributes: Further attributes of PyAV's stream, such as `sample_aspect_ratio`.
    """
    tick = tick or Fraction(1, 25)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, 25, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = tick
        if matrix:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for name, value in attributes.items():
            setattr(stream, name, value)
        times = times or [Fraction(k, 25) for k in range(len(images))]
        for image, seconds in zip(images, times, strict=True):
            name = "rgba" if image.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(image, format=name)
            frame.pts, frame.time_base = round(seconds / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def copy_packets(source, path, shift=0.0, keep=lambda number: True, **options):
    """Copy the video packets of a file without encoding.

    Args:
        source: The file.
        path: The copy.
        shift: Number of seconds that are subtracted from the timestamps.
        keep: Returns whether to copy the packet with a given number.
        options: Options of the output container.
    """
    with av.open(str(source)) as original, av.open(str(path), "w", options=options) as out:
        stream = original.streams.video[0]
        copy = out.add_stream_from_template(stream)
        ticks = round(shift / stream.time_base)
        for number, packet in enumerate(original.demux(stream)):
            is_empty = packet.dts is None  # the last packet
            if not is_empty and keep(number):
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, copy
                out.mux(packet)


def read(path, errors=None, **selection):
    """Return the selected frames of a file.

    Warnings are appended to `errors`; if it is None, they raise AssertionError.
    """

    def fail(error):
        raise AssertionError(str(error))

    on_warning = fail if errors is None else errors.append
    return list(
        video.frames(Source.parse(str(path)), video.FrameSelection(**selection), on_warning)
    )


def write_with_sound(path, video_start, audio_start=0):
    """Write one second of video (25 frames) and three seconds of silence.

    Args:
        path: The file.
        video_start: Seconds at which the video begins.
        audio_start: Seconds at which the silence begins.
    """
    tick = Fraction(1, 1000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25, width=64, height=48, pix_fmt="yuv420p",
                                options={"bf": "0"})  # fmt: skip
        stream.time_base = stream.codec_context.time_base = tick
        audio = out.add_stream("aac", rate=48_000, layout="mono")
        for k in range(140):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = round(audio_start * 48_000) + k * 1024
            out.mux(audio.encode(frame))
        for k in range(25):
            frame = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 4 * k, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = round(video_start * 1000) + 40 * k, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        out.mux(audio.encode(None))
