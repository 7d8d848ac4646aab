"""`VideoSession`: tracks faces in the frames of one video, camera or connection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mien.classification.face_classifier import FaceClassifier, FrameDetections
from mien.errors import UserError
from mien.io import image
from mien.results import Detection, Face, Frame, Result
from mien.tracking.interpolation import TimedDetections, fill, hold
from mien.tracking.schedule import DETECT_EVERY, DetectionSchedule
from mien.tracking.shots import ShotDetector
from mien.tracking.smoothing import Smoother
from mien.tracking.tracker import Tracker

Detect = Callable[[np.ndarray], list[Detection]]
"""A function that returns the faces in (H, W, 3) uint8 RGB pixels."""


class VideoSession:
    """Tracks the faces of one video, camera or connection; created by `Analyzer.session`.

    A session holds a tracker, a detection schedule, a shot detector and a smoother: each face keeps
    its `face_id` within a shot and has `smoothed` emotions in addition to those of the frame. Pass
    frames in the order of time; a jump back in time starts new tracks. Not thread-safe.

    Args:
        detect: Detects the faces of a frame.
        classify: Classifies detected faces.
        smoothing: Time constant of the smoothed emotions in seconds; 0 for none. None uses the
            value of `state` or, without a state, 0.5.
        detect_every: Seconds between two detections in `stream`; 0 detects in every frame.
        state: The state of an earlier session to continue.

    Raises:
        UserError: If `smoothing` is not a valid time constant, or `state` is invalid or belongs to
            another model.

    Example:
        ```python
        import time

        import cv2
        import mien

        session = mien.Analyzer().session(smoothing=0.5)
        camera = cv2.VideoCapture(0)
        while True:
            ok, bgr = camera.read()
            if not ok:
                break
            result = session.update(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), time.monotonic())
            for face in result:
                print(face.face_id, face.smoothed)
        ```
    """

    def __init__(
        self,
        detect: Detect,
        classify: FaceClassifier,
        smoothing: float | None = None,
        detect_every: float = DETECT_EVERY,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        if smoothing is not None and not 0 <= smoothing < math.inf:
            raise UserError(
                f"smoothing cannot be {smoothing}; use a number of seconds, 0 for none."
            )
        self._detect, self._classify = detect, classify
        self._tracker, self._smoother = Tracker(), Smoother()
        self._schedule = DetectionSchedule(detect_every)
        self._last_detections: TimedDetections | None = None
        self._shot_detector, self._shot = ShotDetector(), 0
        self._updates = 0
        if state is not None:
            self._restore(state)
        if smoothing is not None:
            self._smoother.time_constant = smoothing

    def update(self, pixels: np.ndarray, seconds: float) -> Result:
        """Detect, track and classify the faces of the next frame.

        Args:
            pixels: (H, W, 3) uint8, RGB and upright; gray and RGBA are converted. OpenCV gives
                BGR; convert it first.
            seconds: Time of the frame, later than the previous one.

        Returns:
            The faces, sorted by id, with `smoothed` emotions; `frame.number` counts the updates.

        Raises:
            UserError: If `pixels` is not such an array.

        Example:
            ```python
            session = mien.Analyzer().session()
            pixels = np.zeros((480, 640, 3), np.uint8)  # the next frame
            result = session.update(pixels, seconds=0.04)
            ```
        """
        pixels = image.first_frame(pixels).pixels
        number, self._updates = self._updates, self._updates + 1
        return self.update_frame(Frame(pixels, "", number, seconds, kind="camera"))

    def update_frame(self, frame: Frame) -> Result:
        """Like `update`, for a frame with its own source, number and time.

        Its pixels must be (H, W, 3) uint8 RGB; they are neither checked nor converted.

        Example:
            ```python
            pixels = np.zeros((480, 640, 3), np.uint8)
            frame = mien.Frame(pixels, "my camera", number=1, seconds=0.04, kind="camera")
            result = mien.Analyzer().session().update_frame(frame)
            ```
        """
        frame = self._with_shot(frame)
        self._tracker.add_frame(frame.pixels, frame.seconds)
        (result,) = self._classify([(frame, self._detect_faces(frame).faces)])
        return self._smooth(result)

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Analyze all frames of a recorded video, faster than with `update`.

        Faces are detected every `detect_every` seconds and interpolated in between, and the faces
        of several frames are classified together, so results lag up to a batch behind the frames.
        Live frames (`Frame.is_live`) are processed one by one as in `update`.

        Args:
            frames: The frames of one video, in order of time.

        Returns:
            A result for each frame, in the same order.

        Raises:
            UserError: If reading `frames` raises it; all earlier results are yielded first.

        Example:
            ```python
            from mien.io import reader
            from mien.io.source import Source

            frames = reader.frames(Source.parse("clip.mp4"))
            results = list(mien.Analyzer().session().stream(frames))
            ```
        """
        for result in self._classify(self._detect_or_interpolate(frames)):
            yield self._smooth(result)

    def state(self) -> dict[str, Any]:
        """Return the state, to continue the session later with `Analyzer.session(state=...)`.

        Call this method between two updates or after a stream. During a stream, the state includes
        frames whose results have not been yielded yet.

        Returns:
            A JSON-serializable dictionary, about 0.3 MB as text: for each face of the last seconds
            its boxes, velocity, smoothed emotions, and up to five gray thumbnails of at most
            64 x 36 pixels; and gray thumbnails of the frames of the last seconds, up to 20 of
            64 x 36 and up to 17 of 128 x 72 pixels.

        Example:
            ```python
            import json
            from pathlib import Path

            analyzer = mien.Analyzer()
            session = analyzer.session()
            Path("session.json").write_text(json.dumps(session.state()))
            session = analyzer.session(state=json.loads(Path("session.json").read_text()))
            ```
        """
        return {
            "model": self._classify.model,
            "labels": list(self._classify.labels),
            "updates": self._updates,
            "tracker": self._tracker.state(),
            "smoother": self._smoother.state(),
            "schedule": self._schedule.state(),
            "shot_detector": self._shot_detector.state(),
            "shot": self._shot,
            "last_detections": self._last_detections and self._last_detections.to_dict(),
        }

    def replay(self, frame: Frame, faces: Sequence[Face], *, detected: bool) -> bool:
        """Update the session with a frame that an earlier run has analyzed.

        Args:
            frame: The next frame, with the `shot` that the earlier run has written.
            faces: The faces that the earlier run has written for this frame.
            detected: Whether the schedule detected faces in this frame, instead of interpolating.

        Returns:
            Whether this session computes the same smoothed emotions as the earlier run.

        Example:
            ```python
            analyzer = mien.Analyzer()
            first, resumed = analyzer.session(), analyzer.session()
            for result in first.stream([mien.Frame(np.zeros((480, 640, 3), np.uint8))]):
                resumed.replay(result.frame, result.faces, detected=True)
            ```
        """
        matches = self._smoother.replay(frame.seconds, faces)
        self._shot_detector.update(frame.pixels, frame.seconds)
        if frame.shot is not None and frame.shot != self._shot:
            self._begin_shot(frame.shot)
        height, width = frame.pixels.shape[:2]
        self._schedule.replay(frame.seconds, width, height, detected=detected)
        is_changed = self._tracker.add_frame(frame.pixels, frame.seconds)
        if detected or is_changed:
            self._tracker.replay(frame.pixels, frame.seconds, faces)
            # Records do not contain the roll of a face, so faces are detected again.
            by_box = {detection.box: detection for detection in self._detect(frame.pixels)}
            by_id = {face.face_id: by_box[face.box] for face in faces if face.box in by_box}
            self._last_detections = TimedDetections(frame.seconds, by_id)
        return matches

    def reserve_ids(self, next_id: int) -> None:
        """Give new faces ids from `next_id` on.

        Example:
            ```python
            session = mien.Analyzer().session()
            session.reserve_ids(10)
            ```
        """
        self._tracker.reserve_ids(next_id)

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            model, labels = state["model"], tuple(state["labels"])
            self._updates = int(state["updates"])
            self._tracker.restore(state["tracker"])
            self._smoother.restore(state["smoother"])
            self._schedule.restore(state["schedule"])
            self._shot_detector.restore(state["shot_detector"])
            self._shot = int(state["shot"])
            last = state["last_detections"]
            self._last_detections = last and TimedDetections.from_dict(last)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"This is not the state of a session: {error!r}. Use what session.state() returned."
            ) from None
        if (model, labels) != (self._classify.model, self._classify.labels):
            raise UserError(
                f"The state is of a session with model {model} and {len(labels)} emotions, but "
                f"this session has model {self._classify.model} and "
                f"{len(self._classify.labels)} emotions. Use the same model and emotions."
            )

    def _with_shot(self, frame: Frame) -> Frame:
        """Return the frame with the number of its shot; if it begins a shot, end all tracks."""
        if self._shot_detector.update(frame.pixels, frame.seconds):
            self._begin_shot(self._shot + 1)
        return replace(frame, shot=self._shot)

    def _begin_shot(self, shot: int) -> None:
        """End all tracks; the faces get new ids, so that their smoothing starts anew as well."""
        self._shot = shot
        self._tracker.end_tracks()
        self._schedule.reset()
        self._last_detections = None

    def _detect_faces(self, frame: Frame) -> TimedDetections:
        detections = self._detect(frame.pixels)
        boxes = [detection.box for detection in detections]
        ids = self._tracker.update(frame.pixels, frame.seconds, boxes)
        by_id = dict(sorted(zip(ids, detections, strict=True)))
        self._last_detections = TimedDetections(frame.seconds, by_id)
        return self._last_detections

    def _detect_or_interpolate(self, frames: Iterable[Frame]) -> Iterator[FrameDetections]:
        """Yield each frame with its faces, detected or interpolated."""
        pending: list[Frame] = []
        try:
            for frame in frames:
                yield from self._add_frame(frame, pending)
        except UserError:
            yield from hold(self._last_detections, pending)
            raise
        yield from hold(self._last_detections, pending)

    def _add_frame(self, frame: Frame, pending: list[Frame]) -> Iterator[FrameDetections]:
        """Append a frame to those that wait for the next detection, or detect its faces.

        After a detection, or if a new shot begins, the pending frames are yielded with their faces
        and removed.
        """
        last, shot = self._last_detections, self._shot
        frame = self._with_shot(frame)
        if self._shot != shot:
            yield from hold(last, pending)
            pending.clear()
        height, width = frame.pixels.shape[:2]
        is_due = self._schedule.is_due(frame.seconds, width, height)
        is_changed = self._tracker.add_frame(frame.pixels, frame.seconds)
        if not (is_due or is_changed or frame.is_live):
            pending.append(frame)
            return
        last = self._last_detections
        current = self._detect_faces(frame)
        yield from hold(last, pending) if is_changed else fill(last, pending, current)
        pending.clear()
        yield frame, current.faces

    def _smooth(self, result: Result) -> Result:
        return replace(result, faces=self._smoother(result.frame.seconds, result))
