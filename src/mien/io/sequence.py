"""List the numbered images of a sequence such as `frames/%04d.png@30`.

The pattern is that of FFmpeg; the number after `@` is the frames per second.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from mien.errors import UserError
from mien.io.source import SEQUENCE_NUMBER, Source

DEFAULT_SEQUENCE_RATE = 25.0
"""Frames per second of a sequence whose rate is not given."""


def rate(source: Source) -> float:
    """Return the frames per second of a sequence."""
    return source.rate or DEFAULT_SEQUENCE_RATE


def paths(source: Source) -> list[Path]:
    """List the images of a sequence by increasing number.

    Raises:
        UserError: The folder cannot be read, no file matches the pattern, or a number is missing
            between two others.
    """
    pattern = Path(source.location)
    before, digits, after = re.split(SEQUENCE_NUMBER, pattern.name, maxsplit=1)
    width = int(digits or 0)
    expression = re.compile(re.escape(before) + r"(\d+)" + re.escape(after) + "$")
    try:
        names = [path.name for path in pattern.parent.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise UserError(f"Cannot read {source.location}: {error.strerror}.") from None
    numbers = []
    for name in names:
        match = expression.match(name)
        # With %04d, 0001 and 10000 are numbers of the sequence, but not 1 and 010000.
        if match and match[1] == f"{int(match[1]):0{width}d}":
            numbers.append(int(match[1]))
    numbers.sort()
    if not numbers:
        raise UserError(
            f"Cannot read {source.location}: no file has a number in place of %{digits}d. "
            "Check the pattern."
        )
    for number, following in pairwise(numbers):
        if following != number + 1:
            raise UserError(f"Cannot read {source.location}: number {number + 1} is missing. "
                            "Renumber the images consecutively.")  # fmt: skip
    return [pattern.parent / f"{before}{number:0{width}d}{after}" for number in numbers]
