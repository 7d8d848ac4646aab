"""Read animated GIF, PNG, WebP and AVIF files as videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mien.errors import UserError
from mien.io import image
from mien.io.clock import DEFAULT_FRAME_RATE
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Frame

START_TOLERANCE = 1e-6
"""A frame may precede the start of a selection by this many seconds."""


def frames(
    source: Source,
    selection: FrameSelection,
    on_warning: Callable[[UserError], None],
    max_pixels: int,
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    """Read the selected frames of an animation.

    Args:
        source: The file.
        selection: Which frames to read.
        on_warning: Called with the error if data after the first frame is damaged.
        max_pixels: Limit for each frame.
        should_stop: Called for each frame; reading ends when it returns true.

    Raises:
        UserError: The first frame cannot be read, or no frame is in the selected range.
    """
    is_selected = selection.frame_filter(DEFAULT_FRAME_RATE)
    seconds, found_frame = 0.0, False
    for frame in _frames(source, on_warning, max_pixels):
        seconds = frame.seconds
        if should_stop() or seconds > selection.end:
            break
        if seconds < selection.start - START_TOLERANCE:
            continue
        found_frame = True
        if is_selected(seconds):
            yield frame
    # An animation that was stopped before its first frame is no error.
    if not found_frame and (selection.start or seconds > selection.end):
        raise UserError(f"{source.name} has no frame in the selected range; the last frame read is "
                        f"at {seconds:.1f} s. Select another range.")  # fmt: skip


def _frames(
    source: Source, on_warning: Callable[[UserError], None], max_pixels: int
) -> Iterator[Frame]:
    is_first = True
    try:
        for frame in image.frames(source.location, source.name, max_pixels):
            yield replace(frame, kind="animation")
            is_first = False
    except UserError as error:
        if is_first:
            raise
        on_warning(error)
