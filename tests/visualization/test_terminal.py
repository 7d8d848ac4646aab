"""What a person at a terminal sees of a picture."""

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
    assert rest[3] == "  happy     70.0% " + "█" * 21


def test_in_short_a_face_has_a_line():
    frame = Frame(PIXELS, "a.gif", 3, 0.5)
    (line,) = lines(frame, [face(flags=("blurred", "too_small"))], bars=False)
    assert click.unstyle(line) == (
        "a.gif at 0.50 s  face 0  30 x 31 at 1, 2  happy 70%  blurred, too_small"
    )
    assert click.unstyle(lines(frame, [])[0]) == "a.gif at 0.50 s: no face found"


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_colour_is_near_the_one_on_pictures(emotion):
    number = int(re.search(r"38;5;(\d+)m", text._painted("x", emotion))[1]) - 16
    cube = np.array([number // 36, number // 6 % 6, number % 6]) * 51
    wanted = [int(COLORS[emotion][k : k + 2], 16) for k in (1, 3, 5)]
    assert abs(cube - wanted).max() <= 26


@pytest.mark.parametrize(("wanted", "styled"), [("", None), ("1", False)])
def test_who_wants_no_colour_gets_none(monkeypatch, wanted, styled):
    monkeypatch.setenv("NO_COLOR", wanted)
    asked = []
    monkeypatch.setattr(click, "echo", lambda _, color: asked.append(color))
    text.show(Result(Frame(PIXELS, "a.png"), [face()]), bars=True)
    assert set(asked) == {styled}
