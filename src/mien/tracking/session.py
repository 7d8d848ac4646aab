"""One video, camera or connection: its frames go in, its faces come out with ids, smoothed."""

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
from mien.tracking.schedule import DETECT_EVERY, DetectionSchedule, between
from mien.tracking.smoothing import Smoother
from mien.tracking.tracker import Tracker

Detect = Callable[[np.ndarray], list[Detection]]
"""(H, W, 3) uint8 RGB -> the faces in it."""


class VideoSession:
    """Follows the faces of one video, camera or connection; made by `Analyzer.session`.

    It holds the tracker, the detection schedule and the smoothing: each face keeps its `face_id`
    from frame to frame and has `smoothed` emotions beside its own. Frames come in the order of
    time; a jump back in time starts new tracks. For one thread at a time.

    Args:
        detect: finds the faces of a frame.
        classify: gives the emotions of detected faces.
        smoothing: time constant of the smoothed emotions in seconds; 0 for none. None is what the
            state had or, without one, 0.5.
        detect_every: seconds between two detections in `stream`.
        state: of an earlier session, to go on from.

    Raises:
        UserError: if `smoothing` is no time, or `state` is no state or of another model.

    Example:
        ```python
        import time

        import cv2
        import mien

        session = mien.Analyzer().session(smoothing=0.5)
        camera = cv2.VideoCapture(0)
        while True:
            is_there, bgr = camera.read()
            if not is_there:
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
            raise UserError(f"smoothing is a number of seconds, or 0 for none, not {smoothing}.")
        self._detect, self._classify = detect, classify
        self._tracker, self._smoother = Tracker(), Smoother()
        self._schedule = DetectionSchedule(detect_every)
        self._last: tuple[float, Mapping[int, Detection]] | None = None
        self._updates = 0
        if state is not None:
            self._restore(state)
        if smoothing is not None:
            self._smoother.time_constant = smoothing

    def update(self, pixels: np.ndarray, seconds: float) -> Result:
        """The faces of the next frame, detected in it.

        Args:
            pixels: (H, W, 3) uint8, RGB and upright. OpenCV gives BGR: turn it round first.
            seconds: time of the frame, later than that of the one before.

        Returns:
            The faces, by id, with `smoothed` emotions; its `frame` counts the updates.

        Raises:
            UserError: if these are no pixels.
        """
        pixels = image.first_frame(pixels).pixels
        number, self._updates = self._updates, self._updates + 1
        return self.update_frame(Frame(pixels, "", number, seconds, kind="camera"))

    def update_frame(self, frame: Frame) -> Result:
        """`update` for a frame that says by itself where it comes from."""
        (result,) = self._classify([self._detected(frame)])
        return self._smoothed(result)

    def stream(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The faces of all frames of a recorded video, for less than `update` costs.

        Faces are detected once in `detect_every` seconds and interpolated in between, and those of
        many frames are classified together, so results are up to a batch behind the frames. Live
        frames (`Frame.is_live`) are treated as by `update`.

        Args:
            frames: of one video, in the order of time.

        Returns:
            A result for each frame, in their order.

        Raises:
            UserError: the one of `frames`, after the results of the frames before it.
        """
        for result in self._classify(self._located(frames)):
            yield self._smoothed(result)

    def state(self) -> dict[str, Any]:
        """What the session remembers, to go on from later: `Analyzer.session(state=...)`.

        Taken between two updates, or behind a stream; within one, the session is ahead of the
        results that it has given.

        Returns:
            A dictionary that JSON can hold: positions, velocities and a 16 x 16 pixel thumbnail of
            each face that was seen in the last seconds, and its smoothed emotions.

        Example:
            ```python
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
            "detected": self._last and _to_dict(*self._last),
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        try:
            model, labels = state["model"], tuple(state["labels"])
            self._updates = int(state["updates"])
            self._tracker.restore(state["tracker"])
            self._smoother.restore(state["smoother"])
            self._schedule.restore(state["schedule"])
            self._last = state["detected"] and _from_dict(state["detected"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"This is not the state of a session: {error!r}.") from None
        if (model, labels) != (self._classify.model, self._classify.labels):
            raise UserError(
                f"The state is of a session with {model} and {len(labels)} emotions, this one has "
                f"{self._classify.model} and {len(self._classify.labels)}."
            )

    def replay(self, frame: Frame, faces: Sequence[Face], *, detected: bool) -> bool:
        """Take in a frame whose faces an earlier run has written.

        Args:
            frame: the next one.
            faces: the faces that were written of it.
            detected: whether they were detected in it, or interpolated.

        Returns:
            Whether their smoothed emotions are those that this session would have given.
        """
        agrees = self._smoother.replay(frame.seconds, faces)
        high, wide = frame.pixels.shape[:2]
        self._schedule.replay(frame.seconds, wide, high, detected=detected)
        if detected:
            self._tracker.replay(frame.pixels, frame.seconds, faces)
            found = {one.box: one for one in self._detect(frame.pixels)}
            known = {face.face_id: found[face.box] for face in faces if face.box in found}
            self._last = frame.seconds, known
        return agrees

    def reserve_ids(self, count: int) -> None:
        """Give new faces ids from `count` on."""
        self._tracker.reserve_ids(count)

    def _detected(self, frame: Frame) -> FrameDetections:
        found = self._detect(frame.pixels)
        ids = self._tracker.follow(frame.pixels, frame.seconds, [face.box for face in found])
        self._last = frame.seconds, dict(sorted(zip(ids, found, strict=True)))
        return frame, self._last[1]

    def _located(self, frames: Iterable[Frame]) -> Iterator[FrameDetections]:
        """Each frame with its faces, detected or interpolated."""
        waiting: list[Frame] = []
        for frame in frames:
            high, wide = frame.pixels.shape[:2]
            if not (frame.is_live or self._schedule.is_due(frame.seconds, wide, high)):
                waiting.append(frame)
                continue
            before, now = self._last, self._detected(frame)
            yield from _interpolated(before, waiting, now)
            yield now
            waiting = []
        if self._last:
            yield from ((frame, self._last[1]) for frame in waiting)

    def _smoothed(self, result: Result) -> Result:
        return replace(result, faces=self._smoother(result.frame.seconds, result))


def _interpolated(
    before: tuple[float, Mapping[int, Detection]] | None, frames: list[Frame], now: FrameDetections
) -> Iterator[FrameDetections]:
    """The frames between two detections, with the faces of both on their way."""
    if before is None:
        return
    seconds, found = before
    for frame in frames:
        share = (frame.seconds - seconds) / (now[0].seconds - seconds)
        yield frame, between(found, now[1], share)


def _to_dict(seconds: float, found: Mapping[int, Detection]) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "faces": [
            {
                "face_id": face_id,
                "box": face.box,
                "confidence": face.confidence,
                "landmarks": face.landmarks,
                "roll": face.roll,
            }
            for face_id, face in found.items()
        ],
    }


def _from_dict(state: Mapping[str, Any]) -> tuple[float, dict[int, Detection]]:
    faces = {
        face["face_id"]: Detection(face["box"], face["confidence"], face["landmarks"], face["roll"])
        for face in state["faces"]
    }
    return state["seconds"], faces
