"""Read the frames of any source with the reader for its kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from mien.errors import ErrorCallback, UserError, warn
from mien.io import animation, camera, image, image_file, video
from mien.io.frame_selection import FrameSelection, select_frames
from mien.io.image import ImageInput
from mien.io.source import Source
from mien.io.video_pixels import MAX_PIXELS
from mien.results import Frame


def frames(
    source: Source,
    selection: FrameSelection | None = None,
    on_warning: ErrorCallback | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    should_stop: Callable[[], bool] = lambda: False,
    started: float | None = None,
) -> Iterator[Frame]:
    """Read the frames of one source in temporal order.

    Args:
        source: The image, animation, video, sequence, camera or stream.
        selection: Which frames to read; all by default. All frames of an image are always read.
        on_warning: Called with a `UserError` for each damaged part of a video file, sequence or
            animation, and before each attempt to reconnect to a stream; by default, a Python
            warning is issued.
        max_pixels: Maximum number of pixels of a frame of a video file, sequence or animation;
            larger ones count as damaged, or, if they are the first of an animation, are an error.
            Other sources ignore it.
        should_stop: Called for each frame of a video file, sequence or animation, selected or not;
            reading ends when it returns true. Other sources ignore it.
        started: Value of `time.monotonic()` at second 0 of a live source; by default, that of its
            first frame.

    Returns:
        An iterator over upright RGB frames.

    Raises:
        UserError: When iterating: the source cannot be read, or no frame is in the selected range.
    """
    selection = selection or FrameSelection()
    if source.kind == "image":
        return image.frames(source.location, source.name)
    if source.kind == "animation":
        limit = min(max_pixels, image_file.MAX_PIXELS)
        return animation.frames(source, selection, on_warning or warn, limit, should_stop)
    if source.is_live:
        newest = camera.frames(source, on_warning, started=started, end=selection.end)
        return select_frames(newest, selection)
    return video.frames(source, selection, on_warning, max_pixels, should_stop)


def read_images(
    sources: Iterable[Source], on_error: ErrorCallback | None = None
) -> Iterator[Frame]:
    """Read the frames of several images, one image after the other.

    Args:
        sources: The images.
        on_error: Called with the error of each image that cannot be read, while reading continues;
            None raises the error.

    Raises:
        UserError: An image cannot be read, and `on_error` is None.
    """
    for source in sources:
        try:
            yield from frames(source)
        except UserError as error:
            if on_error is None:
                raise
            on_error(error)


def read_image(source: ImageInput) -> Frame:
    """Read an image; of several pages or an animation, only the first frame.

    Args:
        source: The path of a file, or of a folder or glob with one file; `-` for standard input;
            the bytes of a file, an array that `arrays.to_rgb` accepts, or a PIL image.

    Raises:
        UserError: The input cannot be read as an image, or matches several files.
    """
    if not isinstance(source, str | os.PathLike):
        return image.first_frame(source)
    first, *others = Source.expand(os.fspath(source))
    if others:
        raise UserError(f"{os.fspath(source)} matches {len(others) + 1} files, but "
                        "analyze() reads one image; use stream() instead.")  # fmt: skip
    if first.kind not in ("image", "animation"):
        raise UserError(f"{first.name} is a {first.kind}, but analyze() reads one image; "
                        "use stream() instead.")  # fmt: skip
    return image.first_frame(first.location, first.name)
