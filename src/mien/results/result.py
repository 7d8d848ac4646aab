"""`Frame`, an image or a frame of a video, and `Result`, a frame with its faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from mien.printable import printable
from mien.results.face import Face

if TYPE_CHECKING:
    import pandas
    from PIL import Image


SourceKind = Literal["image", "animation", "video", "camera", "stream", "sequence"]
"""The kind of source that a frame was read from.

`"stream"` is a live network stream, `"sequence"` numbered image files.
"""

LIVE_KINDS: tuple[SourceKind, ...] = ("camera", "stream")
"""Kinds of source that drop frames instead of queueing them."""


@dataclass(frozen=True, eq=False)
class Frame:
    """An image, or one frame of a video. Frames are equal if all their fields are equal.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright.
        source: Display name of the source.
        number: Index of the frame in the source, from 0.
        seconds: Time from the start of the source, as a player shows it; 0 for an image.
        model: Name of the model that classified the faces; empty before classification.
        detector: Name of the face detector; empty before classification.
        kind: Kind of source: `"image"`, `"animation"`, `"video"`, `"camera"`, `"stream"` or
            `"sequence"`.
        location: Path or address from which the source can be opened again, for example to read
            its audio; empty if unknown.
        original_size: Width and height of the original if `pixels` are a downscaled copy, as for
            very large JPEG files; otherwise None.
        shot: Number of the shot in a video, from 0; None for an image, or if unknown.

    Example:
        ```python
        frame = mien.Frame(np.zeros((480, 640, 3), np.uint8), "black.png")
        ```
    """

    pixels: np.ndarray = field(repr=False)
    source: str = ""
    number: int = 0
    seconds: float = 0.0
    model: str = ""
    detector: str = ""
    kind: SourceKind = "image"
    location: str = field(default="", repr=False)
    original_size: tuple[int, int] | None = None
    shot: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the original image in pixels."""
        height, width = self.pixels.shape[:2]
        return self.original_size or (width, height)

    @property
    def scale(self) -> float:
        """Width of the original image divided by that of `pixels`; 1 unless it was downscaled."""
        return self.size[0] / self.pixels.shape[1]

    @property
    def is_video(self) -> bool:
        """Whether the source is a sequence of frames in time, so that faces are tracked."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether the source is a camera or a stream."""
        return self.kind in LIVE_KINDS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self._key() == other._key() and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        """Return all fields, but only the shape of the pixels, because hashing pixels is slow."""
        fields = [value for name, value in vars(self).items() if name != "pixels"]
        return (*fields, self.pixels.shape)


@dataclass(frozen=True, repr=False)
class Result(Sequence[Face]):
    """The faces of one frame: a sequence of `Face`, sorted by confidence or, in a video, by id.

    A slice is a `Result` of the same frame. A result keeps the pixels of its frame in memory; store
    `result.faces` or `result.to_dict()` instead if you do not need them.

    Attributes:
        frame: The image with its source and time.
        faces: The faces; empty if none was detected.

    Example:
        ```python
        result = mien.Analyzer().analyze("photo.jpg")
        print(len(result), [face.dominant_emotion for face in result])
        result.save("annotated.png")
        ```
    """

    frame: Frame
    faces: Sequence[Face] = ()

    def __post_init__(self) -> None:
        """Store lists as tuples."""
        object.__setattr__(self, "faces", tuple(self.faces))

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, index: int) -> Face: ...

    @overload
    def __getitem__(self, index: slice) -> Result: ...

    def __getitem__(self, index: int | slice) -> Face | Result:
        if isinstance(index, slice):
            return Result(self.frame, self.faces[index])
        return self.faces[index]

    def __repr__(self) -> str:
        frame, count = self.frame, len(self)
        time = f" at {frame.seconds:.2f} s" if frame.number else ""
        faces = "1 face" if count == 1 else f"{count} faces"
        if self:
            emotions = Counter(face.dominant_emotion for face in self).most_common()
            faces += f" ({', '.join(f'{number} {emotion}' for emotion, number in emotions)})"
        return f"<Result of {printable(frame.source) or 'an image'}{time}: {faces}>"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable record, the same as in JSONL files and HTTP responses.

        Returns:
            `source`, `frame` (its number), `seconds`, `shot` (only if known), `width` and `height`
            in pixels, `model`, `detector`, and `faces`, a list of `Face.to_dict()`. If the frame is
            a downscaled copy, sizes and coordinates are in pixels of the original.

        Example:
            ```python
            import json

            print(json.dumps(mien.Analyzer().analyze("photo.jpg").to_dict()))
            ```
        """
        width, height = self.frame.size
        return {
            "source": self.frame.source,
            "frame": self.frame.number,
            "seconds": self.frame.seconds,
            **({} if self.frame.shot is None else {"shot": self.frame.shot}),
            "width": width,
            "height": height,
            "model": self.frame.model,
            "detector": self.frame.detector,
            "faces": [face.scaled(self.frame.scale).to_dict() for face in self],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], frame: Frame | None = None) -> Result:
        """Create a result from the record that `to_dict` returned.

        Args:
            record: A record, for example a line of a JSONL file.
            frame: The frame, whose pixels a record does not contain. Its `model`, `detector` and
                `shot` are replaced by those of the record. By default, a black frame of the same
                size and of the kind `"image"`, because a record does not contain the kind.

        Example:
            ```python
            record = mien.Analyzer().analyze("photo.jpg").to_dict()
            result = mien.Result.from_dict(record)
            ```
        """
        if frame is None:
            pixels = np.zeros((record["height"], record["width"], 3), np.uint8)
            frame = Frame(pixels, record["source"], record["frame"], record["seconds"])
        model, detector, shot = record["model"], record["detector"], record.get("shot")
        frame = replace(frame, model=model, detector=detector, shot=shot)
        return cls(
            frame, [Face.from_dict(face).scaled(1 / frame.scale) for face in record["faces"]]
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas table with one row per face.

        Returns:
            A table with all columns of mien's CSV files, so that tables can be concatenated. A
            frame without faces is one row with empty face columns.

        Raises:
            UserError: If pandas is not installed.

        Example:
            ```python
            import pandas

            results = mien.Analyzer().stream("clip.mp4")
            faces = pandas.concat(result.to_dataframe() for result in results)
            ```
        """
        from mien.writers._table import dataframe

        return dataframe([self.to_dict()])

    def plot(self) -> Image.Image:
        """Return a copy of the image, annotated with its faces; `save` writes the same image.

        Returns:
            An RGB image of the same size. On small images, text and bars that do not fit beside the
            faces are left out.

        Example:
            ```python
            annotated = mien.Analyzer().analyze("photo.jpg").plot()
            annotated.save("annotated.png")
            ```
        """
        from PIL import Image

        from mien.visualization.annotate import draw

        return Image.fromarray(draw(self.frame.pixels, self.faces))

    def save(self, path: str | PathLike[str]) -> None:
        """Write this result to a file.

        To write several results to one file, use `mien.writers.open_writer`.

        Args:
            path: A file or a folder. The suffix of a file selects the format: `.jsonl`, `.csv`,
                `.parquet`, `.png`, `.jpg` and others; an existing file is replaced. In a folder, an
                annotated image named after the source is written, as `NAME(2).png` if the name
                exists.

        Raises:
            UserError: If the suffix is not supported or the file cannot be written.

        Example:
            ```python
            mien.Analyzer().analyze("photo.jpg").save("faces.csv")
            ```
        """
        from mien import writers

        with writers.open_writer(path) as write:
            write(self)

    def _repr_html_(self) -> str:
        """Return the annotated image and a table of emotions, for notebooks."""
        from mien.visualization import notebook

        return notebook.to_html(self)

    def _repr_png_(self) -> bytes:
        """Return the annotated image, for notebooks that cannot show HTML."""
        from mien.visualization import notebook

        return notebook.to_png(self)


ResultWriter = Callable[[Result], None]
"""A function that writes one result to an open output."""
