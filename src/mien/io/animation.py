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

TOLERANCE = 1e-6
"""Seconds by which a frame may precede the start of a selection."""


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
        on_warning: Called with the error of damaged data behind the first frame.
        max_pixels: Limit for each frame.
        should_stop: Called for each frame; reading ends when it returns true.

    Raises:
        UserError: The first frame cannot be read, or no frame is in the selected range.
    """
    is_selected, last, is_empty = selection.stepper(DEFAULT_FRAME_RATE), 0.0, True
    for frame in _frames(source, on_warning, max_pixels):
        last = frame.seconds
        if should_stop() or last > selection.end:
            break
        if last < selection.start - TOLERANCE:
            continue
        is_empty = False
        if is_selected(last):
            yield frame
    if is_empty and (selection.start or last > selection.end):
        raise UserError(f"{source.name} has no frame in the selected range; the last frame read is "
                        f"at {last:.1f} s.")  # fmt: skip


def _frames(
    source: Source, on_warning: Callable[[UserError], None], max_pixels: int
) -> Iterator[Frame]:
    count = 0
    try:
        for frame in image.frames(source.location, source.name, max_pixels):
            yield replace(frame, kind="animation")
            count += 1
    except UserError as error:
        if not count:
            raise
        on_warning(error)
