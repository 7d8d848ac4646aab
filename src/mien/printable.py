"""Escape characters that could change how a terminal, log or page shows the text around them."""

from __future__ import annotations

import unicodedata

ESCAPED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories of escaped characters: control characters (Cc), invisible format characters
such as those that reverse the direction of text (Cf), surrogates, which Python uses for bytes of
file names that are not UTF-8 (Cs), and line and paragraph separators (Zl, Zp)."""

JOINERS = frozenset("\u200c\u200d")
"""Zero-width non-joiner and joiner, which Persian, Indic scripts and emoji need."""


def printable(text: object) -> str:
    r"""Return text with unprintable characters escaped.

    Args:
        text: A string, such as the name of a file, or an object to convert to a string.

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
