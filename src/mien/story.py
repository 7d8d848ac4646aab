"""What a video showed, gathered frame by frame in bounded memory, to be drawn or told on a page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from mien import atomic
from mien.drawing import draw
from mien.errors import UserError
from mien.faces import Face, Frame
from mien.journal import Write
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.summaries import Summaries
from mien.tracks import PATIENCE

MOST_POINTS, MOST_STILLS, MOST_FACES = 2000, 120, 40
"""What the page holds at most, of a face's times, of the video's pictures, and of faces; however
long the video is. Where there is more, every second one goes, and so on."""

STILL, PORTRAIT = 480, 96
"""Pixels of a picture's longer side, and of a face's."""


@dataclass(slots=True)
class Line:
    """What one face showed over time, thinned as it grows: times, and shares in 255ths."""

    times: list[float] = field(default_factory=list)
    shares: list[list[int]] = field(default_factory=list)
    step: float = 0.0
    portrait: bytes = b""
    worth: float = 0.0

    def add(self, seconds: float, shares: list[int]) -> None:
        """Take in a moment, if it is far enough from the last one."""
        if self.times and seconds - self.times[-1] < self.step:
            return
        self.times.append(seconds)
        self.shares.append(shares)
        if len(self.times) > MOST_POINTS:
            self.times, self.shares = self.times[::2], self.shares[::2]
            self.step = (self.times[-1] - self.times[0]) / len(self.times) * 0.99


@dataclass(slots=True)
class Story:
    """What one video showed: its faces over time, and pictures of it."""

    source: str = ""
    model: str = ""
    frames: int = 0
    start: float = 0.0
    end: float = 0.0
    lines: dict[int, Line] = field(default_factory=dict)
    stills: list[tuple[float, bytes]] = field(default_factory=list)
    apart: float = 0.5
    summaries: Summaries = field(default_factory=Summaries)

    def add(self, frame: Frame, faces: list[Face]) -> None:
        """Take in a frame."""
        if not self.frames:
            self.source, self.model, self.start = frame.source, frame.model, frame.seconds
        self.frames, self.end = self.frames + 1, frame.seconds
        self.summaries.add(frame.seconds, faces)
        for face in faces:
            self._face(frame, face)
        if not self.stills or frame.seconds - self.stills[-1][0] >= self.apart:
            self.stills.append((frame.seconds, _jpeg(draw(frame.pixels, _smooth(faces)), STILL)))
            if len(self.stills) > MOST_STILLS:
                self.stills = self.stills[::2]
                self.apart = (self.stills[-1][0] - self.stills[0][0]) / len(self.stills) * 0.99

    def known(self) -> list[int]:
        """Places of the emotions that the model knows, in the order of a line's shares."""
        faces = self.summaries.records()
        return [
            k
            for k, name in enumerate(EMOTIONS_AND_CONTEMPT)
            if any(name in one["emotions"] for one in faces)
        ]

    def gap(self) -> float:
        """Seconds after which a face that has no point on its line is thought to be away."""
        return max([PATIENCE, *(2.5 * line.step for line in self.lines.values())])

    def _face(self, frame: Frame, face: Face) -> None:
        line = self.lines.setdefault(face.face_id, Line())
        shown = face.smoothed or face.emotions
        shares = [round(255 * shown.get(name, 0.0)) for name in EMOTIONS_AND_CONTEMPT]
        line.add(frame.seconds, shares)
        worth = face.face_confidence * min(face.box[2], face.box[3], 2 * PORTRAIT)
        # A little better is not worth making the picture again.
        if worth > 1.2 * line.worth:
            line.portrait, line.worth = _portrait(frame.pixels, face), worth


@contextmanager
def gathered(path: Path, finish: Callable[[Story, Path], None]) -> Iterator[Write]:
    """Gather one video and write its story, unless it has no frame, with `finish(story, path)`.

    The path given to `finish` is temporary, and takes its name at the end. Raises `UserError` for
    a second source.
    """
    story = Story()

    def write(frame: Frame, faces: list[Face]) -> None:
        if story.frames and frame.source != story.source:
            raise UserError(f"{path} holds one video, and {frame.source} is another.")
        story.add(frame, faces)

    yield write
    if story.frames:
        with atomic.writing(path) as temporary:
            finish(story, temporary)


def _smooth(faces: list[Face]) -> list[Face]:
    return [replace(face, emotions=face.smoothed or face.emotions) for face in faces]


def _portrait(pixels: np.ndarray, face: Face) -> bytes:
    x, y, w, h = face.box
    side = 1.2 * max(w, h)
    left, top = max(0, round(x + w / 2 - side / 2)), max(0, round(y + h / 2 - side / 2))
    cut = pixels[top : top + round(side), left : left + round(side)]
    return _jpeg(cut, PORTRAIT) if cut.size else b""


def _jpeg(pixels: np.ndarray, longest: int) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
