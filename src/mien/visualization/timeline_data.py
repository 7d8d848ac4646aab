"""What a video showed, gathered frame by frame in bounded memory, to be drawn or told on a page."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io import atomic_file
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.results import Face, Frame, Result, Write
from mien.tracking.summaries import Summaries
from mien.tracking.tracker import MAX_AGE_SECONDS, STEPS
from mien.visualization.annotate import Annotator

MAX_POINTS, MAX_STILLS, MAX_FACES = 2000, 120, 40
"""What the page holds at most, of a face's times, of the video's pictures, and of faces; however
long the video is. Where there is more, every second one goes, and so on."""

MAX_LINES = 400
"""Faces of which anything is kept. When there are more, those go of the half that was shortest on
screen that are away, and are only counted."""

MAX_STEPS = 1000
"""Of the times between frames, from which the usual one is told; thinned alike."""

LOOK = 0.3
"""Who has no sighting for longer than so many seconds, and `STEPS` usual steps, is not seen."""

GONE, PALE, SEEN = 0, 1, 2
"""How a face is there: not at all, not seen for a moment but there before and after, or seen."""

STILL, PORTRAIT = 480, 96
"""Pixels of a picture's longer side, and of a face's."""


@dataclass(slots=True)
class Line:
    """What one face showed over time, thinned as it grows.

    times: seconds, to the millisecond. shares: in ten-thousandths. boxes: x, y, width, height in
    thousandths of the frame. often: on how many frames each emotion was the largest; these are
    never thinned.
    """

    times: list[float] = field(default_factory=list)
    shares: list[list[int]] = field(default_factory=list)
    boxes: list[list[int]] = field(default_factory=list)
    often: list[int] = field(default_factory=lambda: [0] * len(EMOTIONS_AND_CONTEMPT))
    step: float = 0.0
    portrait: bytes = b""
    worth: float = 0.0

    def add(self, seconds: float, shares: list[int], box: list[int]) -> None:
        """Take in a sighting; the latest is always kept, those before it a step apart."""
        self.often[shares.index(max(shares))] += 1
        if (
            len(self.times) > 1
            and self.times[-1] - self.times[-2] < self.step
            and seconds - self.times[-1] < self.step
        ):
            self.times[-1], self.shares[-1], self.boxes[-1] = round(seconds, 3), shares, box
            return
        self.times.append(round(seconds, 3))
        self.shares.append(shares)
        self.boxes.append(box)
        if len(self.times) > MAX_POINTS:
            self.times, self.shares = self.times[::2], self.shares[::2]
            self.boxes = self.boxes[::2]
            # The time that a face was away makes a mean of it too long.
            self.step = float(np.median(np.diff(self.times))) * 0.99


@dataclass(slots=True)
class Timeline:
    """What one video showed: its faces over time, and pictures of it.

    location: where the video can be opened again, empty if there is none.
    """

    source: str = ""
    location: str = ""
    model: str = ""
    frames: int = 0
    start: float = 0.0
    end: float = 0.0
    lines: dict[int, Line] = field(default_factory=dict)
    stills: list[tuple[float, bytes]] = field(default_factory=list)
    apart: float = 0.5
    steps: list[float] = field(default_factory=list)
    every: int = 1
    smoothed: bool = False
    summaries: Summaries = field(default_factory=Summaries)
    forgotten: int = 0
    paint: Annotator = field(default_factory=Annotator)

    def add(self, result: Result) -> None:
        """Take in the faces of a frame."""
        frame = result.frame
        if not self.frames:
            self.source, self.model, self.start = frame.source, frame.model, frame.seconds
            self.location = frame.location if frame.is_video else ""
        elif self.frames % self.every == 0:
            self.steps.append(frame.seconds - self.end)
            if len(self.steps) > MAX_STEPS:
                self.steps, self.every = self.steps[::2], 2 * self.every
        self.frames, self.end = self.frames + 1, frame.seconds
        self.summaries.add(frame.seconds, result)
        for face in result:
            self._face(frame, face)
        if len(self.lines) > MAX_LINES:
            for face_id in self.summaries.fleeting(frame.seconds - self.gap(), MAX_LINES // 2):
                self.summaries.forget(face_id)
                del self.lines[face_id]
                self.forgotten += 1
        if not self.stills or frame.seconds - self.stills[-1][0] >= self.apart:
            self.stills.append((frame.seconds, _jpeg(self.paint(frame.pixels, result), STILL)))
            if len(self.stills) > MAX_STILLS:
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

    def step(self, line: Line | None = None) -> float:
        """Seconds from frame to frame, usually; or from point to point of a line."""
        usual = float(np.median(self.steps)) if self.steps else 0.04
        return max(usual, line.step) if line else usual

    def gap(self) -> float:
        """Seconds after which a face that has no point on its line is thought to be away."""
        longest = max([self.step(), *(line.step for line in self.lines.values())])
        return max(MAX_AGE_SECONDS, STEPS * longest)

    def reach(self, line: Line) -> float:
        """Seconds on either side of a sighting of which it tells, where no other is near."""
        return self.step(line) / 2

    def look(self, line: Line) -> float:
        """Seconds between two sightings beyond which the face was not seen for a moment."""
        return max(STEPS * self.step(line), LOOK)

    def visible(self, line: Line) -> np.ndarray:
        """From when to when a face is there, stretch after stretch: (2 M,) seconds, in order.

        Between two points not farther apart than the gap a face is there, elsewhere only within
        reach of one. The page of a video is given these times and has no rule of its own.
        """
        times = np.array(line.times)
        cuts = np.flatnonzero(np.diff(times) > self.gap())
        first, last = times[np.append(0, cuts + 1)], times[np.append(cuts, len(times) - 1)]
        return _stretches(first - self.reach(line), last + self.reach(line))

    def interpolated(self, line: Line) -> np.ndarray:
        """From when to when a face is there but was not seen, in the same form: (2 M,) seconds."""
        times = np.array(line.times)
        apart = np.diff(times)
        unseen = (apart > self.look(line)) & (apart <= self.gap())
        reach = self.reach(line)
        return _stretches(times[:-1][unseen] + reach, times[1:][unseen] - reach)

    def seen(
        self, line: Line, places: np.ndarray, least: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each of many times the place of the nearest point, and GONE, PALE or SEEN: (N,) each.

        A stretch shorter than `least` seconds is taken to be that long, to be drawn.
        """
        times, visible = np.array(line.times), self.visible(line)
        found = np.searchsorted(times, places, "right") - 1
        before, after = found.clip(0), (found + 1).clip(max=len(times) - 1)
        nearest = np.where(places - times[before] < times[after] - places, before, after)
        stretch = (np.searchsorted(visible, times[nearest], "right") - 1) & ~1
        start, end = visible[stretch], visible[stretch + 1]
        wider = np.maximum(0, (least - (end - start)) / 2)
        there = (start - wider <= places) & (places <= end + wider)
        pale = np.searchsorted(self.interpolated(line), places, "right") % 2 == 1
        return nearest, np.where(there, np.where(pale, PALE, SEEN), GONE)

    def _face(self, frame: Frame, face: Face) -> None:
        line = self.lines.setdefault(face.face_id, Line())
        shares = _shares(face.smoothed or face.emotions)
        self.smoothed = self.smoothed or shares != _shares(face.emotions)
        high, wide = frame.pixels.shape[:2]
        box = [round(1000 * v / n) for v, n in zip(face.box, (wide, high) * 2, strict=True)]
        line.add(frame.seconds, shares, box)
        worth = face.face_confidence * min(face.box[2], face.box[3], 2 * PORTRAIT)
        # A little better is not worth making the picture again.
        if worth > 1.2 * line.worth:
            line.portrait, line.worth = _portrait(frame.pixels, face), worth


@contextmanager
def gathered(path: Path, finish: Callable[[Timeline, Path], None]) -> Iterator[Write]:
    """Gather one video and write its story, unless it has no frame, with `finish(story, path)`.

    The path given to `finish` is temporary, and takes its name at the end. Raises `UserError` for
    a second source.
    """
    story = Timeline()

    def write(result: Result) -> None:
        source = result.frame.source
        if story.frames and source != story.source:
            raise UserError(f"{path} holds one video, and {source} is another.")
        story.add(result)

    yield write
    if story.frames:
        with atomic_file.atomic_write(path) as temporary:
            finish(story, temporary)


def _stretches(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Start, end, start, end and so on, to the millisecond as the points are."""
    return np.stack((starts, ends), 1).ravel().round(3)


def _shares(emotions: Mapping[str, float]) -> list[int]:
    return [round(10_000 * emotions.get(name, 0.0)) for name in EMOTIONS_AND_CONTEMPT]


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
