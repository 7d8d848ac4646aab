"""A source -> its frames, each kind by its own reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from mien.errors import UserError
from mien.io import camera, image, video
from mien.io.frame_selection import FrameSelection, select_frames
from mien.io.image import ImageInput
from mien.io.source import Source, printable
from mien.io.video import ErrorCallback
from mien.results import Frame


def frames(
    source: Source,
    selection: FrameSelection | None = None,
    on_warning: ErrorCallback | None = None,
    *,
    max_pixels: int = video.MAX_PIXELS,
    should_stop: Callable[[], bool] = lambda: False,
    started: float | None = None,
) -> Iterator[Frame]:
    """The frames of one source, in the order of time.

    Args:
        source: what to read.
        selection: which frames of a video; of an image, all pages are read.
        on_warning: called with the error of a damaged stretch, while reading goes on; by default,
            a Python warning.
        max_pixels: of a frame of a video file; larger ones count as damage.
        should_stop: asked for each frame of a video file, wanted or not; once true, no more come.
        started: when the seconds of something live begin, by `time.monotonic()`; None is with its
            first frame.

    Raises:
        UserError: for what cannot be read.
    """
    selection = selection or FrameSelection()
    if source.kind == "image":
        return image.frames(source.location, source.name)
    if source.is_live:
        newest = camera.frames(source, on_warning, began=started, until=selection.end)
        return select_frames(newest, selection)
    return video.frames(source, selection, on_warning, max_pixels, should_stop)


def read_images(
    sources: Iterable[Source], on_error: ErrorCallback | None = None
) -> Iterator[Frame]:
    """The frames of several images, one image after the other.

    Args:
        sources: images.
        on_error: called with the error of an image that cannot be read; the others are read.

    Raises:
        UserError: for an image that cannot be read, without `on_error`.
    """
    for source in sources:
        try:
            yield from frames(source)
        except UserError as error:
            if on_error is None:
                raise
            on_error(error)


def read_image(what: ImageInput) -> Frame:
    """One picture, the first frame of an animation.

    Args:
        what: the path of a file, or of a folder or glob with one file in it; `-` for standard
            input; a file's bytes, (H, W, 3) uint8 RGB pixels or a PIL image.

    Raises:
        UserError: for what cannot be read as a picture, and for several files.
    """
    if not isinstance(what, str | os.PathLike):
        return image.first_frame(what)
    source, *others = Source.expand(os.fspath(what))
    if others:
        raise UserError(f"{printable(os.fspath(what))} is {len(others) + 1} files, and analyze() "
                        "reads one: use stream().")  # fmt: skip
    if source.kind not in ("image", "animation"):
        raise UserError(f"{source.name} is a {source.kind}, and analyze() reads a picture: "
                        "use stream().")  # fmt: skip
    return image.first_frame(source.location, source.name)
