"""Fonts for text in any script, such as file names: Pillow's own font has only ASCII."""

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

SUFFIXES = (".ttf", ".otf", ".ttc")
EXCLUDED = ("lastresort", "notdef", "blank", "emoji", "symbol")
"""Parts of the names of fonts that draw placeholders, or pictures."""

ESCAPED_CATEGORIES = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
"""Control characters, undecodable bytes of file names, and unassigned characters."""

TEST_SIZE = 16


def fit_text(text: str, size: int, max_width: float) -> tuple[str, Font]:
    """A line of text that can be drawn, and the font to draw it with.

    Uses Pillow's own font if it has all characters, otherwise the system font that has most of
    them. Characters that no font has are escaped, as `\\u6f22`: better than empty boxes.

    Args:
        text: In any script; may contain line breaks and undecodable bytes of a file name.
        size: Pixels.
        max_width: Pixels; a longer text is shortened in its middle.
    """
    # Invisible marks, such as those of writing direction, have glyphs in few fonts.
    composed = unicodedata.normalize("NFC", text)
    visible = [c for c in composed if unicodedata.category(c) != "Cf"]
    drawable = {c for c in visible if unicodedata.category(c) not in ESCAPED_CATEGORIES}
    path, missing = _best_font(frozenset(drawable))
    font = _load(path, size)
    drawn = [c if c in drawable and c not in missing else _escape(c) for c in visible]
    return _shorten(drawn, font, max_width), font


def _shorten(characters: Sequence[str], font: Font, max_width: float) -> str:
    """The longest text that fits, without characters in the middle if it is too long."""

    def cut(kept: int) -> str:
        end = kept // 2
        return "".join([*characters[: kept - end], "...", *characters[len(characters) - end :]])

    text = "".join(characters)
    if font.getlength(text) <= max_width:
        return text
    kept = bisect_right(range(len(characters)), max_width, key=lambda n: font.getlength(cut(n)))
    return cut(max(kept - 1, 0))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@lru_cache(maxsize=256)
def _best_font(characters: frozenset[str]) -> tuple[str, frozenset[str]]:
    """The font that lacks the fewest characters, "" for Pillow's own, and what it lacks."""
    best, missing = "", _missing("", characters)
    for path in system_fonts() if missing else ():
        lacking = _missing(path, characters)
        if len(lacking) < len(missing):
            best, missing = path, lacking
        if not missing:
            break
    return best, missing


def _missing(path: str, characters: frozenset[str]) -> frozenset[str]:
    """The characters that a font cannot draw; all of them if it cannot be used."""
    try:
        font = _load(path, TEST_SIZE, ImageFont.Layout.BASIC)
    except (OSError, ValueError):
        return characters
    absent = {_bitmap(font, "\uffff"), _bitmap(font, "\U0010fffe")}
    return frozenset(c for c in characters if not _has_glyph(font, c, absent))


def _has_glyph(font: Font, character: str, absent: set[bytes]) -> bool:
    # Pillow orders the letters of Arabic and Hebrew, and joins them, with libraqm only.
    if unicodedata.bidirectional(character) in ("R", "AL") and not features.check("raqm"):
        return False
    if character.isspace():
        return True
    bitmap = _bitmap(font, character)
    return bool(bitmap.strip(b"\0")) and bitmap not in absent


def _bitmap(font: Font, character: str) -> bytes:
    return bytes(font.getmask(character))


@lru_cache(maxsize=64)
def _load(path: str, size: int, layout: ImageFont.Layout | None = None) -> Font:
    """The font of a path, "" for Pillow's own. Basic layout draws glyphs one by one."""
    if not path:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size, layout_engine=layout)


@lru_cache(maxsize=1)
def system_fonts() -> tuple[str, ...]:
    """Paths of the installed fonts, upright sans serif fonts first."""
    found = {path for folder in _font_folders() for path in _fonts_in(folder)}
    return tuple(sorted(found, key=_preference))


def _preference(path: str) -> tuple[bool, bool, bool, int, str]:
    name = Path(path).stem.lower()
    styles = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono")
    styled, serif = any(style in name for style in styles), "serif" in name
    return styled, serif, "sans" not in name, len(name), path


def _fonts_in(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            lower = name.lower()
            if lower.endswith(SUFFIXES) and not any(part in lower for part in EXCLUDED):
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
