"""Numbered pictures as a video, named as FFmpeg does: `frames/%04d.png@30`."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from mien.errors import UserError

SEQUENCE = re.compile(r"(?P<path>.*%\d*d[^/]*?)(?:@(?P<rate>\d+(?:\.\d+)?))?$")
"""Numbered pictures, as FFmpeg writes them, and how many a second: `frames/%04d.png@30`."""

RATE = 25.0
"""Numbered pictures a second if nothing is said."""


def is_sequence(where: str) -> bool:
    """Whether this means numbered pictures: `frames/%04d.png`, `frames/%04d.png@30`."""
    # In an address, %20 is a space.
    return "://" not in where and bool(SEQUENCE.match(where)) and not Path(where).exists()


def opened(where: str) -> Any:
    """A container of numbered pictures, from the lowest number that there is."""
    import av

    found = SEQUENCE.match(where)
    assert found is not None
    pattern = Path(found["path"])
    before, digits, after = re.split(r"%(\d*)d", pattern.name, maxsplit=1)
    known = re.compile(re.escape(before) + r"(\d+)" + re.escape(after) + "$")
    there = pattern.parent.iterdir() if pattern.parent.is_dir() else ()
    numbers = {int(m[1]) for path in there if (m := known.match(path.name))}
    if not numbers:
        raise UserError(f"There is no file {found['path']}, with a number for the %{digits}d.")
    for number, following in pairwise(sorted(numbers)):
        if following != number + 1:
            missing = number + 1
            raise UserError(
                f"Of {found['path']}, number {missing} is missing; a sequence has every number."
            )
    options = {"framerate": found["rate"] or str(RATE), "start_number": str(min(numbers))}
    return av.open(str(pattern), format="image2", options=options)
