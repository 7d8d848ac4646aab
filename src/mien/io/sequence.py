"""Numbered pictures as a video, named as FFmpeg does: `frames/%04d.png@30`."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from mien.errors import UserError
from mien.io.source import Source

RATE = 25.0
"""Frames per second where the source does not say."""


def open_sequence(source: Source) -> Any:
    """A container of numbered pictures, from the lowest number that there is."""
    import av

    pattern = Path(source.location)
    before, digits, after = re.split(r"%(\d*)d", pattern.name, maxsplit=1)
    known = re.compile(re.escape(before) + r"(\d+)" + re.escape(after) + "$")
    there = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    numbers = {int(m[1]) for path in there if (m := known.match(path.name))}
    if not numbers:
        raise UserError(f"There is no file {source.location}, with a number for the %{digits}d.")
    for number, following in pairwise(sorted(numbers)):
        if following != number + 1:
            missing = number + 1
            raise UserError(
                f"Of {source.location}, number {missing} is missing; a sequence has every number."
            )
    options = {"framerate": str(source.rate or RATE), "start_number": str(min(numbers))}
    return av.open(str(pattern), format="image2", options=options)
