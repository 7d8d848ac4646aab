"""Faces drawn on their picture, legible at any size."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageDraw

from mien.errors import UserError
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.results import Face
from mien.visualization import annotate
from mien.visualization.annotate import COLORS, Annotator, draw

SIZES = [(48, 48), (512, 512), (4000, 3000), (600, 100), (100, 600), (30000, 10), (4000, 300)]


def face(box, dominant="happy", labels=EMOTIONS, **more):
    rest = 0.3 / (len(labels) - 1)
    emotions = {name: 0.7 if name == dominant else rest for name in labels}
    return Face(tuple(map(float, box)), 0.9, emotions, **more)


def ground(width, height):
    return np.full((height, width, 3), 200, np.uint8)


@pytest.fixture
def panels(monkeypatch):
    """What `draw` draws: its panels' corners, each with the picture's size, and every text."""
    seen = []
    real = annotate._panel

    def spy(canvas, corners, *rest, **more):
        seen.append((corners, canvas.im.size))
        return real(canvas, corners, *rest, **more)

    monkeypatch.setattr(annotate, "_panel", spy)
    return seen


@pytest.fixture
def texts(monkeypatch):
    seen = []
    real = ImageDraw.ImageDraw.text

    def spy(self, at, text, *rest, font, **more):
        seen.append((text, *font.getbbox(text)[2:], at))
        return real(self, at, text, *rest, font=font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    return seen


@pytest.mark.parametrize("size", SIZES)
def test_without_faces_the_picture_comes_back_in_the_size_it_would_have_with_them(size):
    pixels = ground(*size)
    drawn = draw(pixels, [])
    assert drawn.shape == draw(pixels, [face((0, 0, 9, 9))]).shape
    assert drawn is not pixels
    assert max(size) < 480 or np.array_equal(drawn, pixels)


def test_where_there_are_several_faces_each_has_its_number(texts):
    pixels = ground(900, 700)
    draw(pixels, [face((50, 50, 200, 200))])
    assert texts[0][0].startswith("happy")
    texts.clear()
    draw(pixels, [face((50, 50, 200, 200)), replace(face((600, 50, 200, 200)), face_id=1)])
    assert [text[:3] for text, *_ in texts if "%" in text] == ["0  ", "1  "]


@pytest.mark.parametrize("size", SIZES)
def test_the_source_is_not_touched(size):
    pixels = ground(*size)
    before = pixels.copy()
    drawn = draw(pixels, [face((0, 0, size[0], size[1]))])
    assert np.array_equal(pixels, before)
    assert drawn.dtype == np.uint8
    assert drawn.shape[2] == 3
    assert not np.array_equal(drawn, draw(pixels, []))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["middle", "left upper", "right lower", "all", "beyond"])
def test_the_panel_lies_within_the_picture(panels, size, where):
    width, height = size
    third = min(size) / 3
    boxes = {
        "middle": (width / 2 - third / 2, height / 2 - third / 2, third, third),
        "left upper": (0, 0, third, third),
        "right lower": (width - third, height - third, third, third),
        "all": (0, 0, width, height),
        "beyond": (-third, -third, 3 * third, 5 * third),
    }
    draw(ground(*size), [face(boxes[where], labels=EMOTIONS_AND_CONTEMPT)])
    (((left, top, right, bottom), picture),) = panels
    assert left >= 0
    assert top >= 0
    assert right <= picture[0] or picture[0] < 120
    assert bottom <= picture[1] or picture[1] < 40


@pytest.mark.parametrize("size", SIZES[:3])
@pytest.mark.parametrize("labels", [EMOTIONS, EMOTIONS_AND_CONTEMPT])
def test_every_emotion_is_named_in_letters_large_enough(texts, panels, size, labels):
    side = min(size) / 2
    drawn = draw(ground(*size), [face((side / 2, side / 2, side, side), labels=labels)])
    named = [text for text, *_ in texts]
    assert named == ["happy 70%", *labels]
    assert max(drawn.shape[:2]) >= 480
    (corners, _), *_ = panels
    for _, wide, tall, (x, y) in texts:
        assert tall >= 9
        assert tall >= max(drawn.shape[:2]) / 110
        assert x + wide <= corners[2]
        assert y + tall <= corners[3] + 1


def test_a_doubtful_face_gets_a_question_mark(texts):
    draw(ground(512, 512), [face((100, 100, 200, 200), flags=("blurred",))])
    assert texts[0][0] == "happy 70% ?"


def test_a_small_face_gets_one_line(texts):
    draw(ground(900, 900), [face((400, 400, 30, 30))])
    assert [text for text, *_ in texts] == ["happy 70%"]


@pytest.mark.parametrize("emotion", EMOTIONS_AND_CONTEMPT)
def test_the_longest_head_fits_its_panel(texts, panels, emotion):
    emotions = dict.fromkeys(EMOTIONS_AND_CONTEMPT, 0.0) | {emotion: 1.0}
    for side in (30.0, 300.0):
        texts.clear()
        panels.clear()
        doubtful = Face((9.0, 9.0, side, side), 0.9, emotions, 88, ("blurred",))
        Annotator()(ground(900, 900), [doubtful])
        (head, wide, _, (x, _)), *_ = texts
        assert head == f"88  {emotion} 100% ?"
        ((corners, _),) = panels
        assert x + wide <= corners[2]


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_box_is_drawn_in_its_emotions_colour(emotion):
    drawn = draw(ground(640, 640), [face((200, 200, 240, 240), emotion)])
    wanted = tuple(int(COLORS[emotion][k : k + 2], 16) for k in (1, 3, 5))
    assert (drawn[199:203, 320] == wanted).all(1).any()


def test_every_emotion_has_a_colour_that_reads_on_the_panel():
    def brightness(colour):
        shares = np.array(colour) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    assert set(COLORS) == set(EMOTIONS_AND_CONTEMPT)
    for colour in COLORS.values():
        rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        contrast = (brightness(rgb) + 0.05) / (brightness(annotate.GROUND[:3]) + 0.05)
        assert contrast >= 4.5


def test_panels_of_neighbours_do_not_cover_each_other(panels):
    boxes = [(100, 200, 100, 100), (400, 200, 100, 100), (700, 200, 100, 100)]
    draw(ground(1200, 900), [face(box) for box in boxes])
    corners = [corners for corners, _ in panels]
    for k, mine in enumerate(corners):
        assert annotate._covered(mine, corners[:k] + corners[k + 1 :]) == 0
        assert annotate._covered(mine, [(x, y, x + w, y + h) for x, y, w, h in boxes]) == 0


def test_where_there_is_no_room_a_panel_is_one_line(panels, texts):
    boxes = [(100 * x, 100 * y, 90, 90) for x in range(6) for y in range(6)]
    draw(ground(600, 600), [face(box) for box in boxes])
    assert len(texts) < 3 * len(boxes)


def test_in_a_video_a_panel_stays_with_its_face(panels, texts):
    paint, places = Annotator(), {3: [], 7: []}
    for step in range(60):
        panels.clear()
        texts.clear()
        shake = (step * 7) % 5 - 2
        boxes = {7: (250 + shake, 120, 120, 120), 3: (640 - shake, 140 + shake, 110, 110)}
        order = list(boxes) if step % 2 else list(boxes)[::-1]
        paint(ground(1000, 500), [face(boxes[k], face_id=k) for k in order])
        names = [text.split()[0] for text, *_ in texts if "%" in text]
        for name, (corners, _) in zip(names, panels, strict=True):
            box = boxes[int(name)]
            places[int(name)].append((corners[0] - box[0], corners[1] - box[1]))
    for found in places.values():
        assert len(found) == 60
        assert np.ptp(found, axis=0).max() <= 5


def test_where_two_meet_their_panels_become_lines_and_grow_again_when_they_part(texts):
    paint, rows = Annotator(), []
    for x in (*range(10, 200, 5), *range(200, 10, -5)):
        texts.clear()
        paint(ground(640, 330), [face((x, 100, 110, 110), face_id=0),
                                 face((520 - x, 110, 110, 110), face_id=1)])  # fmt: skip
        rows.append(len(texts))
    assert rows[0] == rows[-1] == 2 * (1 + len(EMOTIONS))
    assert min(rows) < rows[0]
    assert sum(a != b for a, b in itertools.pairwise(rows)) <= 8


def test_a_video_shows_what_is_smoothed(texts):
    shown = face((100, 100, 200, 200), "happy")
    smoothed = {name: 1.0 if name == "sad" else 0.0 for name in EMOTIONS}
    Annotator()(ground(640, 640), [replace(shown, smoothed=smoothed)])
    assert texts[0][0] == "0  sad 100%"


def test_the_picture_shows_through_nowhere_but_round_the_face():
    pixels = ground(2000, 1500)
    drawn = draw(pixels, [face((100, 100, 200, 200))])
    assert (drawn == pixels).all(2).mean() > 0.9


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.lists(
        st.tuples(*[st.floats(-900, 900)] * 2, *[st.floats(0, 900)] * 2), min_size=1, max_size=3
    ),
)
@settings(max_examples=40, deadline=None)
def test_any_box_on_any_picture_can_be_drawn(size, boxes):
    drawn = draw(ground(*size), [face(box) for box in boxes])
    assert drawn.dtype == np.uint8
    scale = max(1, 480 / max(size))
    assert drawn.shape == (round(size[1] * scale), round(size[0] * scale), 3)


@pytest.mark.parametrize("pixels", ["photo.jpg", np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3))])
def test_what_are_no_pixels_of_a_frame_gets_one_sentence(pixels):
    with pytest.raises(UserError, match="takes RGB pixels as frames have them"):
        draw(pixels, [])
