"""The data of a video's timeline, collected frame by frame in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import atomic_file
from mien.io.clock import DEFAULT_FRAME_RATE
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.results import Face, Frame, Result, ResultWriter
from mien.tracking.frame_interval import MAX_AGE_INTERVALS, MAX_AGE_SECONDS
from mien.tracking.summaries import Summaries
from mien.visualization.annotate import Annotator, enlarge
from mien.visualization.thumbnails import encode_jpeg, encode_portrait

MAX_POINTS, MAX_STILLS, MAX_PAGE_FACES = 2000, 120, 40
"""Maximum number of points per series, of stills, and of faces on the HTML page. If there are more
points or stills, every second one is removed."""

MAX_SERIES = 400
"""Maximum number of series. If there are more, the half with the least time on screen is searched
for absent faces, and their series are dropped. These faces are only counted."""

MAX_INTERVALS = 1000
"""Maximum number of intervals between frames that are stored to compute their median. If there are
more, every second one is removed."""

MAX_SHOTS = 1000
"""Maximum number of marked shots. If a video has more, none is marked, because the marks would hide
the emotions."""

MIN_INTERPOLATED_GAP = 0.3
"""Length in seconds above which a gap between points is interpolated. It must also be longer than
`MAX_AGE_INTERVALS` typical intervals. In a gap longer than `Timeline.max_gap`, the face is absent.
"""

ABSENT, INTERPOLATED, VISIBLE = 0, 1, 2
"""Status of a face at one time. `INTERPOLATED` means within a short gap between two points.
Interpolated and visible faces are present."""

STILL_SIDE, PORTRAIT_SIDE = 480, 96
"""Maximum side in pixels of a still, and of a portrait of a face."""

MIN_QUALITY_RATIO = 1.2
"""A portrait is replaced only if the quality grows by more than this factor, because encoding a
slightly better one is not worth the time."""

THINNING_FACTOR = 0.99
"""Factor of the minimum interval after thinning. It is just below 1, so that points and stills at
regular intervals are kept although their times are rounded."""


@dataclass(slots=True)
class Series:
    """The emotions of one face over time, thinned as it grows.

    Attributes:
        times: Times of the points in seconds, rounded to milliseconds.
        shares: Shares of each point in ten-thousandths, in the order of `EMOTIONS_AND_CONTEMPT`.
        boxes: x, y, width and height of each point's box in thousandths of the frame.
        min_interval: Interval in seconds below which points are thinned; 0 until the series has had
            more than `MAX_POINTS` points.
        portrait: JPEG image of the face; empty if there is none.
        portrait_quality: Confidence of the face in the portrait times the shorter side of its box
            in pixels, or times twice `PORTRAIT_SIDE` if that is shorter.
    """

    times: list[float] = field(default_factory=list)
    shares: list[list[int]] = field(default_factory=list)
    boxes: list[list[int]] = field(default_factory=list)
    min_interval: float = 0.0
    portrait: bytes = b""
    portrait_quality: float = 0.0

    def add(self, seconds: float, shares: list[int], box: list[int]) -> None:
        """Add a point, or replace the latest point if it is too close to its neighbors.

        It is too close if the intervals before and after it are both below `min_interval`.
        """
        if (
            len(self.times) > 1
            and self.times[-1] - self.times[-2] < self.min_interval
            and seconds - self.times[-1] < self.min_interval
        ):
            self.times[-1], self.shares[-1], self.boxes[-1] = round(seconds, 3), shares, box
            return
        self.times.append(round(seconds, 3))
        self.shares.append(shares)
        self.boxes.append(box)
        if len(self.times) > MAX_POINTS:
            self.times, self.shares = self.times[::2], self.shares[::2]
            self.boxes = self.boxes[::2]
            # The median, because gaps in which the face is absent would increase the mean.
            self.min_interval = THINNING_FACTOR * float(np.median(np.diff(self.times)))


@dataclass(slots=True)
class Timeline:
    """The faces of one video over time, with stills of the video.

    Attributes:
        source: Name of the video.
        location: Path or address from which the video can be opened again; empty if unknown.
        model: Name of the model.
        frames: Number of frames.
        start: Time of the first frame in seconds.
        end: Time of the last frame in seconds.
        series: Face id -> series.
        shot: Number of the shot of the last frame; None if unknown.
        shot_starts: Start in seconds and number of every shot but the first, for up to
            `MAX_SHOTS` + 1 shots.
        stills: Time in seconds and JPEG bytes of each still.
        still_interval: Minimum interval between stills in seconds.
        intervals: Intervals between frames in seconds; one of every `interval_stride` is stored.
        interval_stride: Ratio of all intervals to stored ones.
        smoothed: Whether the shares are smoothed over time.
        summaries: Summaries of the faces.
        dropped_faces: Number of faces whose series have been dropped.
        annotate: Annotates the stills.
    """

    source: str = ""
    location: str = ""
    model: str = ""
    frames: int = 0
    start: float = 0.0
    end: float = 0.0
    series: dict[int, Series] = field(default_factory=dict)
    shot: int | None = None
    shot_starts: list[tuple[float, int]] = field(default_factory=list)
    stills: list[tuple[float, bytes]] = field(default_factory=list)
    still_interval: float = 0.5
    intervals: list[float] = field(default_factory=list)
    interval_stride: int = 1
    smoothed: bool = False
    summaries: Summaries = field(default_factory=Summaries)
    dropped_faces: int = 0
    annotate: Annotator = field(default_factory=Annotator)

    def add(self, result: Result) -> None:
        """Add the faces of the next frame."""
        frame = result.frame
        self._add_frame(frame)
        self.summaries.add(frame.seconds, result)
        for face in result:
            self._add_face(frame, face)
        if len(self.series) > MAX_SERIES:
            self._drop_short_series(frame.seconds)
        if not self.stills or frame.seconds - self.stills[-1][0] >= self.still_interval:
            still = encode_jpeg(self.annotate(*enlarge(frame.pixels, result)), STILL_SIDE)
            self.stills.append((frame.seconds, still))
            if len(self.stills) > MAX_STILLS:
                self.stills = self.stills[::2]
                duration = self.stills[-1][0] - self.stills[0][0]
                self.still_interval = duration / len(self.stills) * THINNING_FACTOR

    def emotion_indices(self) -> list[int]:
        """Return the indices in `EMOTIONS_AND_CONTEMPT` of the emotions that the model predicts.

        Without faces, there are none.
        """
        summaries = self.summaries.records()
        return [
            k
            for k, name in enumerate(EMOTIONS_AND_CONTEMPT)
            if any(name in summary["mean_shares"] for summary in summaries)
        ]

    def typical_interval(self, series: Series | None = None) -> float:
        """Return the median interval between frames, in seconds.

        For a series that has been thinned to a larger interval, return that interval.
        """
        median = float(np.median(self.intervals)) if self.intervals else 1 / DEFAULT_FRAME_RATE
        return max(median, series.min_interval) if series else median

    def max_gap(self) -> float:
        """Return the maximum length in seconds of a gap in which a face is present."""
        longest = max(
            [self.typical_interval(), *(series.min_interval for series in self.series.values())]
        )
        return max(MAX_AGE_SECONDS, MAX_AGE_INTERVALS * longest)

    def present_intervals(self, series: Series) -> np.ndarray:
        """Return start and end of every interval in which a face is present.

        A face is present between points that are at most `max_gap` apart, and within half a typical
        interval of a point.

        Returns:
            (2 M,) seconds: start, end, start, end, ..., in order.
        """
        times = np.array(series.times)
        margin = self.typical_interval(series) / 2
        absences = np.flatnonzero(np.diff(times) > self.max_gap())
        first, last = times[np.append(0, absences + 1)], times[np.append(absences, len(times) - 1)]
        return _interleave(first - margin, last + margin)

    def interpolated_intervals(self, series: Series) -> np.ndarray:
        """Return start and end of every interpolated interval of a face: (2 M,) seconds."""
        times = np.array(series.times)
        margin = self.typical_interval(series) / 2
        min_gap = max(MAX_AGE_INTERVALS * self.typical_interval(series), MIN_INTERPOLATED_GAP)
        gaps = np.diff(times)
        is_interpolated = (gaps > min_gap) & (gaps <= self.max_gap())
        return _interleave(
            times[:-1][is_interpolated] + margin, times[1:][is_interpolated] - margin
        )

    def sample(
        self, series: Series, times: np.ndarray, min_duration: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the nearest point and the status of a face at given times.

        Args:
            series: A series of this timeline.
            times: (N,) seconds.
            min_duration: Intervals in which the face is present are extended to this many seconds
                if they are shorter.

        Returns:
            (N,) indices of the nearest points, and (N,) status: `ABSENT`, `INTERPOLATED` or
            `VISIBLE`.
        """
        points, present = np.array(series.times), self.present_intervals(series)
        latest = np.searchsorted(points, times, "right") - 1
        before, after = latest.clip(0), (latest + 1).clip(max=len(points) - 1)
        nearest = np.where(times - points[before] < points[after] - times, before, after)
        # Starts have even indices; `& ~1` gives the start of the interval of the nearest point.
        k = (np.searchsorted(present, points[nearest], "right") - 1) & ~1
        start, end = present[k], present[k + 1]
        extension = np.maximum(0, (min_duration - (end - start)) / 2)
        is_present = (start - extension <= times) & (times <= end + extension)
        interpolated = self.interpolated_intervals(series)
        is_interpolated = np.searchsorted(interpolated, times, "right") % 2 == 1
        status = np.where(is_interpolated, INTERPOLATED, VISIBLE)
        return nearest, np.where(is_present, status, ABSENT)

    def marked_shots(self) -> list[tuple[float, int]]:
        """Return start in seconds and number of every marked shot; none if there are too many."""
        return self.shot_starts if len(self.shot_starts) <= MAX_SHOTS else []

    def _add_frame(self, frame: Frame) -> None:
        if frame.shot not in (None, self.shot):
            if self.shot is not None and len(self.shot_starts) <= MAX_SHOTS:
                self.shot_starts.append((round(frame.seconds, 3), frame.shot))
            self.shot = frame.shot
        if not self.frames:
            self.source, self.model, self.start = frame.source, frame.model, frame.seconds
            self.location = frame.location if frame.is_video else ""
        elif self.frames % self.interval_stride == 0:
            self.intervals.append(frame.seconds - self.end)
            if len(self.intervals) > MAX_INTERVALS:
                self.intervals = self.intervals[::2]
                self.interval_stride *= 2
        self.frames, self.end = self.frames + 1, frame.seconds

    def _add_face(self, frame: Frame, face: Face) -> None:
        series = self.series.setdefault(face.face_id, Series())
        shares = _to_ten_thousandths(face.smoothed or face.emotions)
        self.smoothed = self.smoothed or shares != _to_ten_thousandths(face.emotions)
        height, width = frame.pixels.shape[:2]
        box = [round(1000 * v / n) for v, n in zip(face.box, (width, height) * 2, strict=True)]
        series.add(frame.seconds, shares, box)
        quality = face.face_confidence * min(face.box[2], face.box[3], 2 * PORTRAIT_SIDE)
        if quality > MIN_QUALITY_RATIO * series.portrait_quality:
            series.portrait = encode_portrait(frame.pixels, face, PORTRAIT_SIDE)
            series.portrait_quality = quality

    def _drop_short_series(self, seconds: float) -> None:
        absent_since = seconds - self.max_gap()
        for face_id in self.summaries.shortest_absent(absent_since, MAX_SERIES // 2):
            self.summaries.remove(face_id)
            del self.series[face_id]
            self.dropped_faces += 1


@contextmanager
def timeline_writer(
    path: Path, write_file: Callable[[Timeline, Path], None]
) -> Iterator[ResultWriter]:
    """Collect the timeline of one video and write it atomically at the end.

    Args:
        path: The file to write; it is not written if the video has no frames.
        write_file: Function that writes the file, called as `write_file(timeline, temporary_path)`.

    Yields:
        A function that adds a result; it raises `UserError` for a result of another source.
    """
    timeline = Timeline()

    def write(result: Result) -> None:
        source = result.frame.source
        if timeline.frames and source != timeline.source:
            raise UserError(f"{path} can hold only one video; write {source} to another file.")
        timeline.add(result)

    yield write
    if timeline.frames:
        with atomic_file.atomic_write(path) as temporary:
            write_file(timeline, temporary)


def _interleave(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return start, end, start, end, ..., rounded to milliseconds like the times of points."""
    return np.stack((starts, ends), 1).ravel().round(3)


def _to_ten_thousandths(emotions: Mapping[str, float]) -> list[int]:
    """Convert shares to ten-thousandths, in the order of `EMOTIONS_AND_CONTEMPT`."""
    return [round(10_000 * emotions.get(name, 0.0)) for name in EMOTIONS_AND_CONTEMPT]
