"""Fonts for text in any script, such as file names; Pillow's own has little more than ASCII."""

from __future__ import annotations

import os
import sys
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont, features

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
EXCLUDED_NAME_PARTS = ("lastresort", "notdef", "blank", "emoji", "symbol")
"""Fonts whose file names contain one of these draw placeholders or pictures; they are not used."""

ESCAPED_CATEGORIES = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that are always escaped: control characters, surrogates (the
undecodable bytes of file names), private-use and unassigned characters, line and paragraph
separators."""

TEST_FONT_SIZE = 16
"""Font size in pixels at which a font is searched for the glyphs of a text."""


def fit_text(text: str, size: int, max_width: float) -> tuple[str, Font]:
    """Choose a font for a line of text, and adapt the text to the font and to a maximum width.

    The font is Pillow's own if it has all characters, otherwise the font that lacks the fewest.
    Characters that the font lacks are escaped, such as `\\u6f22`, instead of being drawn
    as boxes. Invisible format characters are removed.

    Args:
        text: Text in any script; may contain line breaks and undecodable bytes of a file name.
        size: Font size in pixels.
        max_width: Maximum width in pixels; in wider text, the middle is replaced by `...`.

    Returns:
        The text to draw, and the font to draw it with.
    """
    composed = unicodedata.normalize("NFC", text)
    # Few fonts have glyphs for format characters (category Cf), such as direction marks.
    visible = [c for c in composed if unicodedata.category(c) != "Cf"]
    drawable = {c for c in visible if unicodedata.category(c) not in ESCAPED_CATEGORIES}
    path, missing = _best_font(frozenset(drawable))
    font = _load(path, size)
    characters = [c if c in drawable and c not in missing else _escape(c) for c in visible]
    return _shorten(characters, font, max_width), font


def _shorten(characters: Sequence[str], font: Font, max_width: float) -> str:
    """Join the characters; if they are too wide, replace those in the middle by `...`."""

    def with_ellipsis(kept: int) -> str:
        tail = kept // 2
        return "".join([*characters[: kept - tail], "...", *characters[len(characters) - tail :]])

    text = "".join(characters)
    if font.getlength(text) <= max_width:
        return text
    # The width grows with the number of kept characters, so the largest number can be bisected.
    too_many = bisect_right(
        range(len(characters)), max_width, key=lambda kept: font.getlength(with_ellipsis(kept))
    )
    return with_ellipsis(max(too_many - 1, 0))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@lru_cache(maxsize=256)
def _best_font(characters: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Choose the font that lacks the fewest characters.

    Returns:
        The path of the font ("" for Pillow's own), and the characters that it lacks.
    """
    best, missing = "", _missing("", characters)
    for path in system_fonts() if missing else ():
        missing_in_font = _missing(path, characters)
        if len(missing_in_font) < len(missing):
            best, missing = path, missing_in_font
        if not missing:
            break
    return best, missing


def _missing(path: str, characters: frozenset[str]) -> frozenset[str]:
    """Return the characters that a font cannot draw; all of them if it cannot be used."""
    try:
        font = _load(path, TEST_FONT_SIZE, ImageFont.Layout.BASIC)
    except (OSError, ValueError):
        return characters
    # No font has glyphs for these noncharacters, so they are drawn as its placeholder.
    placeholders = {_bitmap(font, "\uffff"), _bitmap(font, "\U0010fffe")}
    return frozenset(c for c in characters if not _has_glyph(font, c, placeholders))


def _has_glyph(font: Font, character: str, placeholders: set[bytes]) -> bool:
    # Without libraqm, Pillow does not order right-to-left text or join Arabic letters.
    if unicodedata.bidirectional(character) in ("R", "AL") and not features.check("raqm"):
        return False
    if character.isspace():
        return True
    bitmap = _bitmap(font, character)
    return bool(bitmap.strip(b"\0")) and bitmap not in placeholders


def _bitmap(font: Font, character: str) -> bytes:
    return bytes(font.getmask(character))


@lru_cache(maxsize=64)
def _load(path: str, size: int, layout: ImageFont.Layout | None = None) -> Font:
    """Load a font; path "" is Pillow's own. The basic layout does not need libraqm."""
    if not path:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=layout)


@lru_cache(maxsize=1)
def system_fonts() -> tuple[str, ...]:
    """Return the paths of the installed fonts, regular sans-serif fonts first."""
    paths = {path for folder in _font_folders() for path in _fonts_in(folder)}
    return tuple(sorted(paths, key=_sort_key))


def _sort_key(path: str) -> tuple[bool, bool, bool, int, str]:
    name = Path(path).stem.lower()
    styles = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono")
    is_styled, is_serif = any(style in name for style in styles), "serif" in name
    return is_styled, is_serif, "sans" not in name, len(name), path


def _fonts_in(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            lower = name.lower()
            is_excluded = any(part in lower for part in EXCLUDED_NAME_PARTS)
            if lower.endswith(FONT_SUFFIXES) and not is_excluded:
                yield str(Path(parent, name))


def _font_folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises without a home
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        windows = Path(os.environ.get("WINDIR", r"C:\Windows"))
        return [windows / "Fonts", local / "Microsoft" / "Windows" / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    user = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
    return [Path(folder) / "fonts" for folder in (*filter(None, data.split(":")), user)] + [
        home / ".fonts"
    ]
