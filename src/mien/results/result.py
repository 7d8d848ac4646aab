"""A frame of pixels, and the result: a frame with its faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from mien.results.face import Face

if TYPE_CHECKING:
    import pandas
    from PIL import Image


SourceKind = Literal["image", "animation", "video", "camera", "stream", "sequence"]
"""What a frame was read from, as `io.source.Source` says it."""

LIVE_KINDS: tuple[SourceKind, ...] = ("camera", "stream")
"""Kinds that drop frames instead of waiting."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, alone or of a sequence.

    Frames are equal if their pixels and everything else are.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, upright.
        source: where it came from, for a person to read.
        number: its place in the source, from 0.
        seconds: the source's own time stamp, 0 for a still.
        model: the name of the model that classified its faces; empty before.
        detector: the name of the detector that found them; empty before.
        kind: what it was read from: `"image"`, `"animation"`, `"video"`, `"camera"`, `"stream"` or
            `"sequence"`.
        location: where its source can be opened again, for its sound say; empty if unknown.
    """

    pixels: np.ndarray = field(repr=False)
    source: str = ""
    number: int = 0
    seconds: float = 0.0
    model: str = ""
    detector: str = ""
    kind: SourceKind = "image"
    location: str = field(default="", repr=False)

    @property
    def is_video(self) -> bool:
        """Whether the frames of its source follow each other in time, so that faces keep ids."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether it comes from a camera or a stream."""
        return self.kind in LIVE_KINDS

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self._key() == other._key() and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        """Everything but the pixels, which would take long to hash."""
        others = [value for name, value in vars(self).items() if name != "pixels"]
        return (*others, self.pixels.shape)


@dataclass(frozen=True, repr=False)
class Result(Sequence[Face]):
    """The faces of one frame: a sequence of `Face`, most confident first or, in a video, by id.

    A slice is a `Result` of the same frame. A result keeps its frame's pixels; of many frames,
    keep `result.faces` or `result.to_dict()` where the pixels are not needed.

    Attributes:
        frame: the picture with its source and time.
        faces: what the sequence consists of; empty where no face was found.

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
        """Take lists as well."""
        object.__setattr__(self, "faces", tuple(self.faces))

    def __len__(self) -> int:
        return len(self.faces)

    @overload
    def __getitem__(self, place: int) -> Face: ...

    @overload
    def __getitem__(self, place: slice) -> Result: ...

    def __getitem__(self, place: int | slice) -> Face | Result:
        if isinstance(place, slice):
            return Result(self.frame, self.faces[place])
        return self.faces[place]

    def __repr__(self) -> str:
        frame, count = self.frame, len(self)
        time = f" at {frame.seconds:.2f} s" if frame.number else ""
        emotions = Counter(face.dominant_emotion for face in self)
        shown = ", ".join(f"{number} {name}" for name, number in emotions.most_common())
        faces = f"{count} face" + "s" * (count != 1) + (f" ({shown})" if shown else "")
        return f"<Result of {frame.source or 'a picture'}{time}: {faces}>"

    def to_dict(self) -> dict[str, Any]:
        """The record: one dictionary, as a line of JSONL and an HTTP answer hold it.

        Returns:
            `source`, `frame` (its number), `seconds`, `width` and `height` in pixels, `model`,
            `detector`, and `faces`, a list of `Face.to_dict()`.

        Example:
            ```python
            json.dumps(analyzer.analyze("photo.jpg").to_dict())
            ```
        """
        height, width = self.frame.pixels.shape[:2]
        return {
            "source": self.frame.source,
            "frame": self.frame.number,
            "seconds": self.frame.seconds,
            "width": width,
            "height": height,
            "model": self.frame.model,
            "detector": self.frame.detector,
            "faces": [face.to_dict() for face in self],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], frame: Frame | None = None) -> Result:
        """The result that a record was made of.

        Args:
            record: what `to_dict` gave, a line of JSONL say.
            frame: the same frame, read again, for a record has no pixels; it gets the record's
                `model` and `detector`. By default, a black picture of the same size.

        Example:
            ```python
            results = [mien.Result.from_dict(json.loads(line)) for line in open("faces.jsonl")]
            ```
        """
        if frame is None:
            pixels = np.zeros((record["height"], record["width"], 3), np.uint8)
            frame = Frame(pixels, record["source"], record["frame"], record["seconds"])
        frame = replace(frame, model=record["model"], detector=record["detector"])
        return cls(frame, [Face.from_dict(face) for face in record["faces"]])

    def to_dataframe(self) -> pandas.DataFrame:
        """A table with a row per face, or one with empty face columns where there is none.

        Returns:
            The columns of `.csv` files, always all of them, so that tables can be concatenated.

        Raises:
            UserError: pandas is not installed.

        Example:
            ```python
            pandas.concat(result.to_dataframe() for result in analyzer.stream("clip.mp4"))
            ```
        """
        from mien.writers._table import dataframe

        return dataframe([self.to_dict()])

    def plot(self) -> Image.Image:
        """A copy of the picture with its faces drawn on it: what `save` writes as `.png`.

        Returns:
            An RGB image; one shorter than 480 pixels is enlarged so that its text is legible.

        Example:
            ```python
            analyzer.analyze("photo.jpg").plot().show()
            ```
        """
        from PIL import Image

        from mien.visualization.annotate import draw

        return Image.fromarray(draw(self.frame.pixels, self.faces))

    def save(self, path: str | PathLike[str]) -> None:
        """Write this result to a file of its own; `mien.writers.to` writes many to one.

        Args:
            path: its suffix says what: `.jsonl`, `.csv`, `.parquet`, `.png`, `.jpg`, ...; a folder
                gets an annotated picture named after the source. A file that exists is replaced.

        Raises:
            UserError: nothing can be written there, or under this suffix.

        Example:
            ```python
            analyzer.analyze("photo.jpg").save("faces.csv")
            ```
        """
        from mien import writers

        with writers.open_writer(path) as write:
            write(self)

    def _repr_html_(self) -> str:
        """The annotated picture and a table of its emotions, for notebooks."""
        from mien.visualization import notebook

        return notebook.html(self)

    def _repr_png_(self) -> bytes:
        """The annotated picture, for notebooks that show no HTML."""
        from mien.visualization import notebook

        return notebook.png(self)


Write = Callable[[Result], None]
"""What a writer gives: a function that takes one result after the other."""
