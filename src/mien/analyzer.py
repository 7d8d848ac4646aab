"""Pictures and videos -> faces: the way from a detector to a classifier."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from mien import detection
from mien.classification import occlusion, weights
from mien.classification.classifier import Classifier
from mien.classification.face_classifier import FaceClassifier
from mien.classification.model_spec import CropGeometry
from mien.classification.occlusion import Explanation
from mien.detection import _roll, _rotation
from mien.errors import UserError
from mien.io import image, reader
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, canonical
from mien.results import Detection, Frame, Result
from mien.tracking.schedule import DETECT_EVERY
from mien.tracking.session import VideoSession


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
        self._geometry = getattr(self._detect, "geometry", CropGeometry())
        self._estimate_roll = _roll.RollEstimator()
        self.model = self._classify.name
        self.detector = self._detect.name
        known = self._classify.spec.labels
        wanted = EMOTIONS_AND_CONTEMPT if contempt and "contempt" in known else EMOTIONS
        self.labels = tuple(name for name in wanted if name in known)
        self._faces = FaceClassifier(model, self._geometry, self.labels, self.detector)

    def __repr__(self) -> str:
        labels = ", ".join(self.labels)
        return f"<Analyzer: model {self.model}, detector {self.detector}, labels {labels}>"

    def analyze(self, picture: image.ImageInput) -> Result:
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
        (result,) = self.analyze_frames([reader.read_image(picture)])
        return result

    def explain(self, picture: image.ImageInput, emotion: str = "") -> list[Explanation]:
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
                print(found.face.box, found.importance.max())
            ```
        """
        wanted = canonical(emotion) if emotion else ""
        if wanted and wanted not in self.labels:
            raise UserError(f"{self.model} gives no {wanted}; it gives {', '.join(self.labels)}.")
        frame = reader.read_image(picture)
        explained = []
        found = dict(enumerate(self._find_in_still(frame.pixels)))
        (result,) = self._faces([(frame, found)])
        for face in result:
            crop = self._faces.crop(frame.pixels, found[face.face_id])
            asked = wanted or face.dominant_emotion
            place = self.labels.index(asked)
            lost = occlusion.effect(lambda crops, k=place: self._faces.shares(crops)[:, k], crop)  # type: ignore[misc]
            explained.append(Explanation(face, asked, crop, lost))
        return explained

    def stream(
        self,
        source: image.ImageInput,
        on_error: Callable[[UserError], None] | None = None,
        selection: FrameSelection | None = None,
        smoothing: float | None = None,
    ) -> Iterator[Result]:
        """Every frame of a picture, folder, video, camera or stream, with its faces, in order.

        In a video (`clip.mp4`), a camera (`camera:0`) or a stream (`rtsp://...`) each face keeps
        its id and has `smoothed` emotions beside its own: a `session` for each of them.

        Args:
            source: as for `analyze`, or a folder, a glob, numbered pictures (`frames/%04d.png@30`),
                a camera or an address.
            on_error: called with the error of a file that cannot be read, or is damaged; the others
                are read. Without it, that raises or, of damage, warns.
            selection: which frames of a video; all by default.
            smoothing: time constant in seconds, 0 for none; 0.5 by default.

        Returns:
            A result for each frame; at most one batch behind in files, and up to date in what is
            live.

        Raises:
            UserError: there is nothing, or it cannot be read.

        Example:
            ```python
            for result in analyzer.stream("clip.mp4", selection=mien.FrameSelection(every=10)):
                print(result.frame.seconds, [face.face_id for face in result])
            ```
        """
        if not isinstance(source, str | os.PathLike):
            return self.analyze_frames(image.frames(source))
        return self._each(Source.expand(os.fspath(source)), on_error, selection, smoothing)

    def session(
        self,
        smoothing: float | None = None,
        detect_every: float = DETECT_EVERY,
        state: Mapping[str, Any] | None = None,
    ) -> VideoSession:
        """A session for frames that you read yourself, of one video, camera or connection.

        Args:
            smoothing: time constant of the smoothed emotions in seconds, 0 for none. None is what
                the state had or, without one, 0.5.
            detect_every: seconds between two detections in `VideoSession.stream`.
            state: of an earlier session, to go on from.

        Returns:
            The session: `session.update(pixels, seconds)` gives the faces of the next frame.

        Raises:
            UserError: if `smoothing` is no time, or `state` is no state or of another model.

        Example:
            ```python
            session = analyzer.session(smoothing=0.5)
            result = session.update(pixels, seconds)  # (H, W, 3) uint8 RGB
            later = analyzer.session(state=session.state())
            ```
        """
        return VideoSession(self._find, self._faces, smoothing, detect_every, state)

    def _each(
        self,
        sources: Iterable[Source],
        on_error: Callable[[UserError], None] | None,
        selection: FrameSelection | None,
        smoothing: float | None,
    ) -> Iterator[Result]:
        """The frames of each source with its faces: images together, videos one by one."""
        for is_video, some in groupby(sources, attrgetter("is_video")):
            if not is_video:
                yield from self.analyze_frames(reader.read_images(some, on_error))
                continue
            for source in some:
                try:
                    session = self.session(smoothing)
                    yield from session.stream(reader.frames(source, selection, on_error))
                except UserError as error:
                    if on_error is None:
                        raise
                    on_error(error)

    def analyze_frames(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """The given still pictures with their faces, in order; works ahead by one batch at most.

        Where no face is upright, rotations of the picture are looked at as well.
        """
        detected = ((frame, dict(enumerate(self._find_in_still(frame.pixels)))) for frame in frames)
        return self._faces(detected)

    def _find(self, pixels: np.ndarray) -> list[Detection]:
        """The faces of a picture, with their roll."""
        return self._estimate_roll(pixels, self._detect(pixels), self._geometry)

    def _find_in_still(self, pixels: np.ndarray) -> list[Detection]:
        return _rotation.detect_rotated(self._find, pixels)
