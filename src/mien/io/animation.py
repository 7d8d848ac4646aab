"""Read animated GIF, PNG, WebP and AVIF files as videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mien.errors import ErrorCallback, UserError
from mien.io import image
from mien.io.clock import DEFAULT_FRAME_RATE
from mien.io.frame_selection import START_TOLERANCE, FrameSelection, empty_range_error
from mien.io.source import Source
from mien.results import Frame


def frames(
    source: Source,
    selection: FrameSelection,
    on_warning: ErrorCallback,
    max_pixels: int,
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    """Read the selected frames of an animation.

    Args:
        source: The file.
        selection: Which frames to read.
        on_warning: Called with the error if a frame after the first cannot be read; reading then
            ends.
        max_pixels: Maximum number of pixels of a frame.
        should_stop: Called for each frame; reading ends when it returns true.

    Raises:
        UserError: The first frame cannot be read, or no frame is in the selected range.
    """
    is_selected = selection.frame_filter(DEFAULT_FRAME_RATE)  # animations have no frame rate
    last, is_range_empty = 0.0, True
    for frame in _frames(source, on_warning, max_pixels):
        if should_stop():
            return
        last = frame.seconds
        if last > selection.end:
            break
        if last < selection.start - START_TOLERANCE:
            continue
        is_range_empty = False
        if is_selected(last):
            yield frame
    if is_range_empty and (selection.start or last > selection.end):
        raise empty_range_error(source.name, selection, last)


def _frames(source: Source, on_warning: ErrorCallback, max_pixels: int) -> Iterator[Frame]:
    is_first = True
    try:
        for frame in image.frames(source.location, source.name, max_pixels):
            yield replace(frame, kind="animation")
            is_first = False
    except UserError as error:
        if is_first:
            raise
        on_warning(error)
