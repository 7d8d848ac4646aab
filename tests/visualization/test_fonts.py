"""Text in any script is drawn with a font that has its characters, or escaped."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from mien.visualization import fonts

SCRIPTS = {
    "Cyrillic": "Интервью.mp4",
    "Latin": "Café à Łódź – ñ.mp4",
    "Greek": "Συνέντευξη.mp4",
    "Arabic": "مقابلة.mp4",
    "Hebrew": "ראיון.mp4",
    "CJK": "漢字の動画.mp4",
    "Devanagari": "हिन्दी.mp4",
}


@pytest.fixture
def without_system_fonts(monkeypatch):
    """Leave only the font of Pillow."""
    monkeypatch.setattr(fonts, "system_fonts", lambda: ())
    fonts._best_font.cache_clear()
    yield
    fonts._best_font.cache_clear()


def drawn(text, font):
    """Return the (60, 900) uint8 pixels of a text, white on black."""
    image = Image.new("L", (900, 60))
    ImageDraw.Draw(image).text((4, 4), text, 255, font)
    return np.asarray(image)


def placeholders(text, font):
    """Return the characters of a text that are drawn as the placeholder of the font."""
    placeholder = drawn("\U0010fffe", font)  # no font has a glyph for this noncharacter
    return [c for c in text if np.array_equal(drawn(c, font), placeholder)]


@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS)
def test_no_script_is_drawn_as_empty_boxes(name):
    text, font = fonts.fit_text(name, 22, 900)
    assert placeholders(text, font) == []
    assert text.endswith(".mp4")


@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS)
def test_without_a_font_for_a_script_its_characters_are_escaped(name, without_system_fonts):
    text, font = fonts.fit_text(name, 22, 900)
    assert placeholders(text, font) == []
    assert text.isascii()
    assert "\\" in text


@pytest.mark.skipif(
    not any("DejaVuSans.ttf" in path for path in fonts.system_fonts()), reason="needs DejaVu Sans"
)
@pytest.mark.parametrize("script", ["Cyrillic", "Greek", "Arabic", "Hebrew"])
def test_an_installed_font_that_has_the_script_is_used(script):
    if script in ("Arabic", "Hebrew") and not features.check("raqm"):
        pytest.skip("needs libraqm")
    text, font = fonts.fit_text(SCRIPTS[script], 22, 900)
    assert text == SCRIPTS[script]
    assert font.path in fonts.system_fonts()


def test_ascii_is_drawn_with_aileron_the_font_of_pillow():
    text, font = fonts.fit_text("Zoe's film, 50 % ok.mp4", 22, 900)
    assert text == "Zoe's film, 50 % ok.mp4"
    assert font.getname()[0] == "Aileron"


def test_unusable_font_files_are_ignored(tmp_path, monkeypatch):
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "broken.ttf").write_bytes(b"not a font")
    (tmp_path / "fonts" / "LastResort.otf").write_bytes(b"")
    monkeypatch.setattr(fonts.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    fonts.system_fonts.cache_clear()
    fonts._best_font.cache_clear()
    try:
        assert [path.rsplit("/", 1)[1] for path in fonts.system_fonts()] == ["broken.ttf"]
        assert fonts.fit_text("漢", 22, 900)[0] == "\\u6f22"
    finally:
        fonts.system_fonts.cache_clear()
        fonts._best_font.cache_clear()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb\t\x07.mp4", "a\\nb\\t\\x07.mp4"),
        ("\udcff.mp4", "\\udcff.mp4"),  # an undecodable byte
        ("\u202ea\ufeff", "a"),
        ("e\u0301", "é"),
    ],
)
def test_control_characters_are_escaped_format_characters_removed_and_accents_composed(
    name, expected
):
    assert fonts.fit_text(name, 22, 900)[0] == expected


def test_a_long_text_is_shortened_in_the_middle():
    text, font = fonts.fit_text("a" * 100 + "b" * 100 + ".mp4", 22, 400)
    assert 380 < font.getlength(text) <= 400
    assert text.startswith("aaa")
    assert text.endswith("b.mp4")
    assert "..." in text
    assert fonts.fit_text("abc", 22, 1)[0] == "..."


def test_a_shortened_text_has_whole_escapes(without_system_fonts):
    text, _ = fonts.fit_text("漢" * 90, 22, 400)
    assert set(text.replace("...", "").split("\\u")) == {"", "6f22"}
