"""Helpers for tests of videos."""

from PIL import Image

import mien as package
from mien.io import video
from mien.io.source import Source
from mien.results import Face
from tests.synthetic import clips


def frame_times(path, **selection):
    return [
        frame.seconds
        for frame in video.frames(Source.parse(str(path)), video.FrameSelection(**selection))
    ]


def write_gif(path, sample_faces, count, **options):
    """Write an animated GIF with `count` frames; returns them before color quantization."""
    originals = [p for p, *_ in clips.frames("one", sample_faces, size=(320, 180), seconds=1)][
        :count
    ]
    first, *others = map(Image.fromarray, originals)
    first.save(path, save_all=True, append_images=others, **options)
    return originals


def make_face(frame, face_id=0):
    emotions = dict.fromkeys(package.EMOTIONS, 1 / 7)
    return Face((20.0, 20.0, 40.0, 40.0), 0.9, emotions, face_id, smoothed=emotions)
