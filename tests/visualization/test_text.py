"""Printing results as text."""

import re

import click
import numpy as np
import pytest

from mien.labels import COLORS, EMOTIONS
from mien.results import Face, Frame, Result
from mien.visualization import text

PIXELS = np.zeros((40, 40, 3), np.uint8)


def face(emotion="happy", share=0.7, **more):
    emotions = dict.fromkeys(EMOTIONS, (1 - share) / 6) | {emotion: share}
    return Face((1.0, 2.0, 30.4, 30.6), 0.9, emotions, **more)


def lines(frame, faces, bars=True):
    return list(text._lines(Result(frame, faces), bars))


def test_a_face_has_a_bar_for_each_emotion():
    first, *rest = (click.unstyle(line) for line in lines(Frame(PIXELS, "a.png"), [face()]))
    assert first == "a.png  face 0  30 x 31 at 1, 2"
    assert [line.split()[0] for line in rest] == list(EMOTIONS)
    happy = rest[EMOTIONS.index("happy")]
    assert happy == "  happy     70.0 % " + "█" * round(0.7 * text.BAR_LENGTH)


def test_without_bars_a_face_has_one_line():
    frame = Frame(PIXELS, "a.gif", 3, 0.5)
    (line,) = lines(frame, [face(flags=("blurred", "too_small"))], bars=False)
    assert click.unstyle(line) == (
        "a.gif at 0.50 s  face 0  30 x 31 at 1, 2  happy 70 %  blurred, too_small"
    )
    assert click.unstyle(lines(frame, [])[0]) == "a.gif at 0.50 s: no face detected"


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_terminal_colors_are_close_to_those_of_annotated_images(emotion):
    number = int(re.search(r"38;5;(\d+)m", text._colored("x", emotion))[1])
    # From color 16, the palette of terminals is a cube with 6 levels per channel, 51 apart.
    levels = np.unravel_index(number - 16, (6, 6, 6))
    expected = [int(COLORS[emotion][k : k + 2], 16) for k in (1, 3, 5)]
    assert abs(51 * np.array(levels) - expected).max() <= 26  # half of 51


@pytest.mark.parametrize(("no_color", "expected"), [("", None), ("1", False)])
def test_no_color_is_respected(monkeypatch, no_color, expected):
    """With None, click prints colors only on a terminal; with False, never."""
    monkeypatch.setenv("NO_COLOR", no_color)
    colors = []
    monkeypatch.setattr(click, "echo", lambda _, color: colors.append(color))
    text.print_faces(Result(Frame(PIXELS, "a.png"), [face()]), with_bars=True)
    assert set(colors) == {expected}
