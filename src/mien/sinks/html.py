"""A page on which a person can see what each face of a video showed, and when. One file."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from mien import atomic
from mien.drawing import COLOURS, draw
from mien.errors import UserError
from mien.faces import Face, Frame
from mien.journal import Write
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.tracks import PATIENCE, Summaries

TEMPLATE = Path(__file__).with_name("_page.html")

MOST_POINTS, MOST_STILLS, MOST_FACES = 2000, 120, 40
"""What the page holds at most, of a face's times, of the video's pictures, and of faces; however
long the video is. Where there is more, every second one goes, and so on."""

STILL, PORTRAIT = 480, 96
"""Pixels of a picture's longer side, and of a face's."""


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write the frames of one video as an `.html` page; a `UserError` for a second source."""
    story = Story()

    def write(frame: Frame, faces: list[Face]) -> None:
        if story.frames and frame.source != story.source:
            raise UserError(f"{path} holds one video, and {frame.source} is another.")
        story.add(frame, faces)

    yield write
    if story.frames:
        with atomic.writing(path) as temporary:
            temporary.write_text(page(story, path), encoding="utf-8")


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
    """What the page tells, gathered frame by frame in bounded memory."""

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

    def _face(self, frame: Frame, face: Face) -> None:
        line = self.lines.setdefault(face.face_id, Line())
        shown = face.smoothed or face.emotions
        shares = [round(255 * shown.get(name, 0.0)) for name in EMOTIONS_AND_CONTEMPT]
        line.add(frame.seconds, shares)
        worth = face.face_confidence * min(face.box[2], face.box[3], 2 * PORTRAIT)
        # A little better is not worth making the picture again.
        if worth > 1.2 * line.worth:
            line.portrait, line.worth = _portrait(frame.pixels, face), worth


def _smooth(faces: list[Face]) -> list[Face]:
    return [replace(face, emotions=face.smoothed or face.emotions) for face in faces]


def page(story: Story, path: Path) -> str:
    """The story as HTML; `path` is where it will lie, for the way from there to the video."""
    summaries = story.summaries.records()[:MOST_FACES]
    known = [
        k
        for k, name in enumerate(EMOTIONS_AND_CONTEMPT)
        if any(name in one["emotions"] for one in summaries)
    ]
    steps = [np.diff(line.times).min() for line in story.lines.values() if len(line.times) > 1]
    told = {
        "name": Path(story.source).name or story.source,
        "video": _relative(story.source, path),
        "model": story.model,
        "frames": story.frames,
        "start": story.start,
        "end": story.end,
        "step": float(min(steps, default=0.04)),
        "gap": max([PATIENCE, *(2.5 * line.step for line in story.lines.values())]),
        "labels": [EMOTIONS_AND_CONTEMPT[k] for k in known],
        "colours": COLOURS,
        "stills": [(round(s, 3), _inline(body)) for s, body in story.stills],
        "faces": [
            {
                "id": one["face_id"],
                "picture": _inline(story.lines[one["face_id"]].portrait),
                "on_screen": one["on_screen"],
                "emotions": one["emotions"],
                "times": [round(s, 3) for s in story.lines[one["face_id"]].times],
                "shares": [[row[k] for k in known] for row in story.lines[one["face_id"]].shares],
            }
            for one in summaries
        ],
    }
    # A name may not end the script it stands in.
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace('{"nothing": "yet"}', text)


def _relative(source: str, path: Path) -> str:
    """The way from the page to the video, as an address; nothing for what is not a file."""
    if not Path(source).is_file():
        return ""
    try:
        way = os.path.relpath(Path(source).resolve(), path.resolve().parent)
    except ValueError:  # another drive
        return ""
    return quote(way.replace(os.sep, "/"))


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


def _inline(body: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(body).decode() if body else ""
