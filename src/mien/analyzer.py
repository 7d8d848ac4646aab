"""Frames -> faces: detect, cut, classify. Faces of many frames share one batch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby, islice
from operator import attrgetter

import numpy as np

from mien import detection
from mien.classification import occlusion, weights
from mien.classification.classifier import Classifier
from mien.classification.crops import face_crop
from mien.classification.flags import flags
from mien.classification.model_spec import Geometry
from mien.classification.occlusion import Explanation
from mien.detection import _roll, _rotated
from mien.errors import UserError
from mien.io import image, reader, video
from mien.io.source import Source
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, canonical, fold
from mien.results import Detection, Face, Frame, Result
from mien.tracking.schedule import DETECT_EVERY, DetectionSchedule, between
from mien.tracking.smoothing import TIME_CONSTANT, Smoother
from mien.tracking.tracker import Past, Tracker

FACES_AT_ONCE = 32
PIXELS_AT_ONCE = 32_000_000
SECONDS_AT_ONCE = 0.5
"""What waits for its batch at most: so many faces, frames of so many pixels together, so long."""

Found = dict[int, Detection]
"""The faces of a frame by their ids."""

Seen = tuple[Frame, Found]


class Analyzer:
    """A detector and a classifier; no other state. Safe to call from several threads.

    It pickles, and loads its models again where it is unpickled, in processes of
    `multiprocessing` say.

    Args:
        model: a packaged name ("default", "default-labels") or the path of an `.onnx` file.
        detector: "yunet", "whole" (the picture is one face) or any `mien.Detector`. Either may
            also be a loaded one, to be shared.
        threads: for detector and classifier, where they are named; 0 is all cores.
        contempt: keep the eighth emotion of the models that know it, instead of folding it out.

    Attributes:
        model: the model's name.
        detector: the detector's name.
        labels: the emotions that it gives, in their order.

    Raises:
        UserError: there is no such model or detector, or its file is damaged.

    Example:
        ```python
        analyzer = mien.Analyzer()
        for face in analyzer.analyze("photo.jpg"):
            print(face.dominant_emotion, face.emotions)
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike | Classifier = "default",
        detector: str | detection.Detector = "yunet",
        threads: int = 0,
        contempt: bool = False,
    ) -> None:
        if not isinstance(model, Classifier):
            model = Classifier(weights.model(os.fspath(model)), threads)
        self._classify = model
        self._detect = detection.load(detector, threads) if isinstance(detector, str) else detector
        self._geometry = getattr(self._detect, "geometry", Geometry())
        self._estimate_roll = _roll.RollEstimator()
        self.model = self._classify.name
        self.detector = self._detect.name
        known = self._classify.contract.labels
        wanted = EMOTIONS_AND_CONTEMPT if contempt and "contempt" in known else EMOTIONS
        self.labels = tuple(name for name in wanted if name in known)

    def __repr__(self) -> str:
        labels = ", ".join(self.labels)
        return f"<Analyzer: model {self.model}, detector {self.detector}, labels {labels}>"

    def analyze(self, picture: image.Picture) -> Result:
        """The faces on one picture.

        Args:
            picture: a path, a file's bytes, (H, W, 3) uint8 RGB pixels or a PIL image. Of a moving
                picture, the first frame.

        Returns:
            A sequence of faces, most confident first, with its `frame`; empty without a face.

        Raises:
            UserError: it cannot be read as a picture, or is a folder or glob of several, which
                `stream` reads.

        Example:
            ```python
            result = analyzer.analyze("photo.jpg")
            result.save("annotated.png")
            ```
        """
        (result,) = self.frames([reader.picture(picture)])
        return result

    def explain(self, picture: image.Picture, emotion: str = "") -> list[Explanation]:
        """What in each face of a picture speaks for an emotion; the model runs 170 times per face.

        Args:
            picture: as for `analyze`.
            emotion: one of `labels`; each face's dominant emotion by default.

        Returns:
            An explanation per face, in the order of `analyze`.

        Raises:
            UserError: the picture cannot be read, or the model does not give this emotion.

        Example:
            ```python
            for found in analyzer.explain("photo.jpg", "happy"):
                print(found.face.box, found.effect.max())
            ```
        """
        wanted = canonical(emotion) if emotion else ""
        if wanted and wanted not in self.labels:
            raise UserError(f"{self.model} gives no {wanted}; it gives {', '.join(self.labels)}.")
        frame = reader.picture(picture)
        explained = []
        found = dict(enumerate(self._find_in_still(frame.pixels)))
        (result,) = self._classified_in_batches([(frame, found)], FACES_AT_ONCE)
        for face in result:
            crop = self._crop(frame.pixels, found[face.face_id])
            asked = wanted or face.dominant_emotion
            place = self.labels.index(asked)
            lost = occlusion.effect(lambda crops, k=place: self._shares(crops)[:, k], crop)  # type: ignore[misc]
            explained.append(Explanation(face, asked, crop, lost))
        return explained

    def stream(
        self,
        where: image.Picture,
        skip: Callable[[UserError], None] | None = None,
        part: video.Part | None = None,
        time_constant: float = TIME_CONSTANT,
    ) -> Iterator[Result]:
        """Every frame of a picture, folder, video, camera or stream, with its faces, in order.

        In a video (`clip.mp4`), a camera (`camera:0`) or a stream (`rtsp://...`) each face keeps
        its id, and has `smoothed` emotions beside its own. part: which frames of it.
        time_constant: of the smoothing, in seconds. A file that cannot be read raises
        `UserError`; with `skip`, that is called with the error and the other files are read.
        """
        if not isinstance(where, str | os.PathLike):
            return self.frames(image.frames(where))
        sources = Source.expand(os.fspath(where))
        return self.read(sources, skip, part or video.Part(), time_constant)

    def read(
        self,
        sources: Iterable[Source],
        skip: Callable[[UserError], None] | None,
        part: video.Part,
        time_constant: float,
    ) -> Iterator[Result]:
        """The frames of each source with its faces: images together, videos one by one."""
        for is_video, some in groupby(sources, attrgetter("is_video")):
            if not is_video:
                yield from self.frames(reader.pictures(some, skip))
                continue
            for source in some:
                try:
                    yield from self.video(source, skip, part, time_constant)
                except UserError as error:
                    if skip is None:
                        raise
                    skip(error)

    def video(
        self,
        source: Source,
        skip: Callable[[UserError], None] | None,
        part: video.Part,
        time_constant: float,
        past: Past | None = None,
    ) -> Iterator[Result]:
        """The frames of one video, or something live, with its faces.

        past: what an earlier run found; only later frames are given, as if it had gone on.
        """
        if past is not None:
            if abs(past.began - part.start) > 1 + part.seconds:
                raise UserError(f"What was found of {source.name} begins at {past.began:.1f} s; "
                                "--resume with the same --from.")  # fmt: skip
            part = part.from_frame(min(past.faces), past.first)
        frames = reader.frames(source, part, skip)
        return self.follow(frames, time_constant, newest=source.is_live, past=past)

    def frames(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The given still pictures with their faces, in order; works ahead by one batch at most.

        Where no face is upright, rotations of the picture are looked at as well.
        """
        seen = ((frame, dict(enumerate(self._find_in_still(frame.pixels)))) for frame in frames)
        return self._classified_in_batches(seen, FACES_AT_ONCE)

    def follow(
        self,
        frames: Iterable[Frame],
        time_constant: float = TIME_CONSTANT,
        *,
        newest: bool = False,
        detect_every: float = DETECT_EVERY,
        past: Past | None = None,
    ) -> Iterator[Result]:
        """The frames of one video with its faces, who keep their ids; emotions smoothed as well.

        Faces are looked for once in `detect_every` seconds, and stand in between where they were
        on their way. newest: look for them on every frame, and wait for no batch. past: what is
        known of the first of these frames, which are not given again.
        """
        smooth, frames = Smoother(time_constant), iter(frames)
        tracker = Tracker(first=past.unused if past else 0)
        looks = DetectionSchedule(0.0 if newest else detect_every)
        before = self._recall(frames, past, tracker, looks, smooth) if past else None
        seen = self._followed(frames, tracker, looks, before)
        for result in self._classified_in_batches(seen, 1 if newest else FACES_AT_ONCE):
            yield replace(result, faces=smooth(result.frame.seconds, result))

    def _recall(
        self,
        frames: Iterator[Frame],
        past: Past,
        tracker: Tracker,
        looks: DetectionSchedule,
        smooth: Smoother,
    ) -> Seen | None:
        """Take the frames that are known, and tell the others of them; the last look."""
        before: Seen | None = None
        for frame in islice(frames, len(past.faces)):
            if (faces := past.faces.get(frame.number)) is None:
                raise UserError(
                    f"{frame.source} is not the video that was being read, or not the same part "
                    "of it; --resume goes on with the same command."
                )
            again = {face.face_id: face.smoothed for face in smooth.again(frame.seconds, faces)}
            if any(_differ(again.get(face.face_id), face.smoothed) for face in faces):
                raise UserError(
                    f"{frame.source} was read or smoothed otherwise; --resume with the same "
                    "--every and --smooth."
                )
            smooth(frame.seconds, faces)
            looked, (high, wide) = frame.number in past.looked, frame.pixels.shape[:2]
            looks.recall(frame.seconds, wide, high, looked=looked)
            if looked:
                tracker.recall(frame.pixels, frame.seconds, faces)
                found = {one.box: one for one in self._find(frame.pixels)}
                before = frame, {f.face_id: found[f.box] for f in faces if f.box in found}
        return before

    def _followed(
        self,
        frames: Iterable[Frame],
        tracker: Tracker,
        looks: DetectionSchedule,
        before: Seen | None,
    ) -> Iterator[Seen]:
        """Each frame with the boxes of its faces by id, detected or, in between, reckoned."""
        between: list[Frame] = []
        for frame in frames:
            high, wide = frame.pixels.shape[:2]
            if not looks.due(frame.seconds, wide, high):
                between.append(frame)
                continue
            found = self._find(frame.pixels)
            ids = tracker.follow(frame.pixels, frame.seconds, [face.box for face in found])
            now = (frame, dict(sorted(zip(ids, found, strict=True))))
            yield from _reckoned(before, between, now)
            yield now
            before, between = now, []
        if before:
            yield from ((frame, before[1]) for frame in between)

    def _classified_in_batches(self, seen: Iterable[Seen], at_once: int) -> Iterator[Result]:
        waiting: list[tuple[Frame, Found, list[np.ndarray]]] = []
        faces = pixels = 0
        began = time.monotonic()
        failed: list[UserError] = []
        for frame, found in _up_to_an_error(seen, failed):
            waiting.append((frame, found, [self._crop(frame.pixels, f) for f in found.values()]))
            faces += len(found)
            pixels += frame.pixels.shape[0] * frame.pixels.shape[1]
            late = time.monotonic() - began > SECONDS_AT_ONCE
            if faces >= at_once or pixels >= PIXELS_AT_ONCE or late or at_once == 1:
                yield from self._answers(waiting)
                waiting, faces, pixels = [], 0, 0
                began = time.monotonic()
        yield from self._answers(waiting)
        if failed:  # what came before it has been given
            raise failed[0]

    def _find(self, pixels: np.ndarray) -> list[Detection]:
        """The faces of a picture, with their roll."""
        return self._estimate_roll(pixels, self._detect(pixels), self._geometry)

    def _find_in_still(self, pixels: np.ndarray) -> list[Detection]:
        return _rotated.find(self._find, pixels)

    def _crop(self, pixels: np.ndarray, face: Detection) -> np.ndarray:
        return face_crop(pixels, face, self._geometry, self._classify.contract)

    def _answers(self, waiting: list[tuple[Frame, Found, list[np.ndarray]]]) -> Iterator[Result]:
        probabilities = self._classified([crop for *_, crops in waiting for crop in crops])
        for frame, found, crops in waiting:
            faces: list[Face] = []
            for (face_id, one), cut in zip(found.items(), crops, strict=True):
                emotions = dict(zip(self.labels, next(probabilities), strict=True))
                faces.append(
                    Face(
                        one.box, one.confidence, emotions, face_id, flags(one, cut),
                        landmarks=one.landmarks,
                    )
                )  # fmt: skip
            yield Result(replace(frame, model=self.model, detector=self.detector), faces)

    def _classified(self, crops: list[np.ndarray]) -> Iterator[list[float]]:
        for start in range(0, len(crops), FACES_AT_ONCE):
            yield from self._shares(np.stack(crops[start : start + FACES_AT_ONCE])).tolist()

    def _shares(self, crops: np.ndarray) -> np.ndarray:
        """(N, C, side, side) uint8 -> (N, K) float64, in the order of `labels`."""
        return fold(self._classify(crops), self._classify.contract.labels, self.labels)


def _up_to_an_error(seen: Iterable[Seen], failed: list[UserError]) -> Iterator[Seen]:
    try:
        yield from seen
    except UserError as error:
        failed.append(error)


def _differ(one: Mapping[str, float] | None, other: Mapping[str, float] | None) -> bool:
    return bool(one and other and any(abs(one[name] - other[name]) > 1e-6 for name in one))


def _reckoned(before: Seen | None, frames: list[Frame], now: Seen) -> Iterator[Seen]:
    """The frames between two detections, with the faces of both on their way."""
    if before is None:
        return
    since = now[0].seconds - before[0].seconds
    for frame in frames:
        share = (frame.seconds - before[0].seconds) / since
        yield frame, between(before[1], now[1], share)
