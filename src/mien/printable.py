"""Escape characters that could change how a terminal, log or page shows the text around them."""

from __future__ import annotations

import unicodedata

ESCAPED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories of control characters, invisible characters such as those that reverse the
direction of writing, bytes of file names that are not UTF-8, and separators of lines."""

JOINERS = frozenset("\u200c\u200d")
"""Invisible characters that Persian, Indic scripts and emoji need."""


def printable(text: object) -> str:
    r"""Return text, such as the name of a file, with unprintable characters escaped.

    Args:
        text: A text, a path or another object.

    Example:
        ```python
        from mien.printable import printable

        printable("a\nb.jpg")  # 'a\\nb.jpg'
        ```
    """
    string = str(text)
    if string.isprintable():
        return string
    return "".join(c if is_printable(c) else _escape(c) for c in string)


def is_printable(character: str) -> bool:
    """Return whether a character needs no escaping."""
    return character in JOINERS or unicodedata.category(character) not in ESCAPED_CATEGORIES


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
