"""Read numbered images as a video, with FFmpeg's naming: `frames/%04d.png@30`."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from mien.errors import UserError
from mien.io.source import Source

DEFAULT_RATE = 25.0
"""Frames per second of a sequence without a stated rate."""


def open_sequence(source: Source) -> Any:
    """Open numbered images as an FFmpeg container, from the lowest number on.

    Raises:
        UserError: No file matches the pattern, or a number in between is missing.
    """
    import av

    pattern = Path(source.location)
    before, digits, after = re.split(r"%(\d*)d", pattern.name, maxsplit=1)
    numbered = re.compile(re.escape(before) + r"(\d+)" + re.escape(after) + "$")
    paths = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    numbers = {int(m[1]) for path in paths if (m := numbered.match(path.name))}
    if not numbers:
        raise UserError(
            f"Cannot read {source.location}: no file found with a number for %{digits}d."
        )
    for number, following in pairwise(sorted(numbers)):
        if following != number + 1:
            raise UserError(f"Cannot read {source.location}: number {number + 1} is missing. "
                            "A sequence needs consecutive numbers.")  # fmt: skip
    options = {"framerate": str(source.rate or DEFAULT_RATE), "start_number": str(min(numbers))}
    return av.open(str(pattern), format="image2", options=options)
