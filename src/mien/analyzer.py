"""`Analyzer`: detect faces in images and videos and estimate their emotion shares."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
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
from mien.errors import ErrorCallback, UserError, warn
from mien.io import image, reader
from mien.io.frame_selection import FrameSelection
from mien.io.image import ImageInput
from mien.io.source import Source
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, canonical_label
from mien.results import Detection, Face, Frame, Result
from mien.tracking.schedule import DETECT_EVERY
from mien.tracking.session import VideoSession


class Analyzer:
    """Detects faces and estimates their emotion shares. Thread-safe.

    It can be pickled, for example for `multiprocessing`; each process loads the models once.

    Args:
        model: Name of a model that `mien models` lists, such as "default", path of an `.onnx` file,
            or a loaded `Classifier`. `my.onnx:labels` selects the head `labels` of a file.
        detector: "yunet", "whole" (the central square of the image is the only face) or any
            `mien.Detector`.
        threads: Number of threads; 0 uses all cores. It does not apply to a loaded `Classifier` or
            a `mien.Detector`.
        contempt: Whether to keep contempt, an eighth emotion that some models predict. Otherwise,
            its share is distributed over the seven others in proportion to their shares.

    Attributes:
        model: The model's name.
        detector: The detector's name.
        labels: The emotions in `Face.emotions`, in order.

    Raises:
        UserError: If the model or the detector does not exist, or the model file is invalid.

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
        self._classifier = model
        self._detector = (
            detection.load(detector, threads) if isinstance(detector, str) else detector
        )
        self._geometry = getattr(self._detector, "geometry", CropGeometry())
        self._estimate_roll = _roll.RollEstimator()
        self.model = self._classifier.name
        self.detector = self._detector.name
        predicted = self._classifier.spec.labels
        emotions = EMOTIONS_AND_CONTEMPT if contempt else EMOTIONS
        self.labels = tuple(label for label in emotions if label in predicted)
        self._classify_faces = FaceClassifier(
            self._classifier, self._geometry, self.labels, self.detector
        )

    def __repr__(self) -> str:
        labels = ", ".join(self.labels)
        return f"<Analyzer: model {self.model}, detector {self.detector}, labels {labels}>"

    def analyze(self, image: ImageInput) -> Result:
        """Analyze one image.

        Args:
            image: The path or the bytes of an image file, (H, W, 3) uint8 RGB pixels or a PIL
                image. Only the first frame of an animation or multi-page TIFF is analyzed.

        Returns:
            The faces, most confident first; empty if no face is detected. Its `frame` is the image.

        Raises:
            UserError: If the image cannot be read, or the path is a video or matches several files;
                use `stream` for these.

        Example:
            ```python
            result = mien.Analyzer().analyze("photo.jpg")
            result.save("annotated.png")
            ```
        """
        (result,) = self.analyze_frames([reader.read_image(image)])
        return result

    def explain(self, image: ImageInput, emotion: str = "") -> list[Explanation]:
        """Compute which parts of each face the predicted share of an emotion depends on.

        For each face, this takes as long as classifying 170 faces.

        Args:
            image: As for `analyze`.
            emotion: One of `labels` or a synonym, such as "joy"; by default, each face's dominant
                emotion.

        Returns:
            One explanation per face, in the order of `analyze`.

        Raises:
            UserError: If the image cannot be read, or the emotion is unknown or not in `labels`.

        Example:
            ```python
            for explanation in mien.Analyzer().explain("photo.jpg", "happy"):
                print(explanation.face.box, explanation.importance.max())
            ```
        """
        label = canonical_label(emotion) if emotion else ""
        if label and label not in self.labels:
            raise UserError(
                f"This analysis does not include {label}; use one of {', '.join(self.labels)}."
            )
        frame = reader.read_image(image)
        detections = dict(enumerate(self._detect_in_image(frame.pixels)))
        (result,) = self._classify_faces([(frame, detections)])
        return [
            self._explain_face(
                frame, face, detections[face.face_id], label or face.dominant_emotion
            )
            for face in result
        ]

    def stream(
        self,
        source: ImageInput,
        on_error: ErrorCallback | None = None,
        selection: FrameSelection | None = None,
        smoothing: float | None = None,
    ) -> Iterator[Result]:
        """Analyze the frames of an image, folder, video, camera or network stream, in order.

        In all sources except still images, faces are tracked: each keeps its `face_id` and has
        `smoothed` emotions.

        Args:
            source: As for `analyze`, or a video (`clip.mp4`), a folder, a glob, numbered images
                (`frames/%04d.png@30`), a camera (`camera:0`), or the address of a network stream
                (`rtsp://...`). Bytes, pixels and PIL images are analyzed as still images, and the
                other arguments do not apply to them.
            on_error: Called with the error of each file that cannot be read, each damaged part of a
                video and each lost connection to a stream, while the analysis continues. It is also
                called once if files or subfolders of a folder are not read. By default, a file that
                cannot be read raises its error, and the other problems cause warnings.
            selection: Which frames of a video to analyze; all by default.
            smoothing: Time constant of the smoothing in seconds, 0 for none; 0.5 by default.

        Returns:
            An iterator with one result per frame. A result is yielded when its batch is complete,
            in a video after the next detection; results of live sources are yielded immediately.

        Raises:
            UserError: If the source does not exist or, without `on_error`, a file cannot be read or
                `smoothing` is not a valid time constant.

        Example:
            ```python
            analyzer = mien.Analyzer()
            for result in analyzer.stream("clip.mp4", selection=mien.FrameSelection(every=10)):
                print(result.frame.seconds, [face.face_id for face in result])
            ```
        """
        if not isinstance(source, str | os.PathLike):
            return self.analyze_frames(image.frames(source))
        sources = Source.expand(os.fspath(source), on_error or warn)
        return self._stream(sources, on_error, selection, smoothing)

    def session(
        self,
        smoothing: float | None = None,
        detect_every: float = DETECT_EVERY,
        state: Mapping[str, Any] | None = None,
    ) -> VideoSession:
        """Start a session for the frames of one video or camera that you read yourself.

        Args:
            smoothing: Time constant of the smoothing in seconds, 0 for none; by default, that of
                `state`, or 0.5 without `state`.
            detect_every: Seconds between face detections in `VideoSession.stream`;
                `VideoSession.update` detects faces in every frame.
            state: The result of `VideoSession.state`, to resume that session.

        Returns:
            The session; `session.update(pixels, seconds)` analyzes the next frame.

        Raises:
            UserError: If `smoothing` is not a valid time constant, or `state` is invalid or belongs
                to another model.

        Example:
            ```python
            analyzer = mien.Analyzer()
            session = analyzer.session(smoothing=0.5)
            pixels = np.zeros((480, 640, 3), np.uint8)  # (H, W, 3) RGB: the next frame
            result = session.update(pixels, seconds=0.04)
            resumed = analyzer.session(state=session.state())
            ```
        """
        return VideoSession(self._detect, self._classify_faces, smoothing, detect_every, state)

    def analyze_frames(self, frames: Iterable[Frame]) -> Iterator[Result]:
        """Analyze frames as independent images, in batches.

        If no upright face is detected in an image, rotated copies of it are searched as well.

        Args:
            frames: The images; at most one batch is read ahead.

        Returns:
            An iterator with one result per frame, in order.

        Raises:
            UserError: If reading `frames` raises it; all earlier results are yielded first.

        Example:
            ```python
            pixels = np.zeros((480, 640, 3), np.uint8)
            results = list(mien.Analyzer().analyze_frames([mien.Frame(pixels, "black.png")]))
            ```
        """
        return self._classify_faces(
            (frame, dict(enumerate(self._detect_in_image(frame.pixels)))) for frame in frames
        )

    def _stream(
        self,
        sources: Iterable[Source],
        on_error: ErrorCallback | None,
        selection: FrameSelection | None,
        smoothing: float | None,
    ) -> Iterator[Result]:
        """Yield the results of all sources: images in shared batches, videos one by one."""
        for is_video, group in groupby(sources, attrgetter("is_video")):
            if not is_video:
                yield from self.analyze_frames(reader.read_images(group, on_error))
                continue
            for source in group:
                try:
                    session = self.session(smoothing)
                    yield from session.stream(reader.frames(source, selection, on_error))
                except UserError as error:
                    if on_error is None:
                        raise
                    on_error(error)

    def _explain_face(
        self, frame: Frame, face: Face, detection: Detection, emotion: str
    ) -> Explanation:
        column = self.labels.index(emotion)
        crop = self._classify_faces.crop(frame.pixels, detection)
        importance = occlusion.importance_map(
            lambda crops: self._classify_faces.predict_shares(crops)[:, column], crop
        )
        return Explanation(face, emotion, crop, importance)

    def _detect(self, pixels: np.ndarray) -> list[Detection]:
        """Detect the faces of an image and estimate their roll."""
        return self._estimate_roll(pixels, self._detector(pixels), self._geometry)

    def _detect_in_image(self, pixels: np.ndarray) -> list[Detection]:
        return _rotation.detect_rotated(self._detect, pixels)
