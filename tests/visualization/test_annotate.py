"""Annotated images: text is legible at any size, and panels do not cover faces."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageDraw

from mien.errors import UserError
from mien.labels import COLORS, EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.results import Face
from mien.visualization import annotate
from mien.visualization.annotate import Annotator, draw, enlarge
from mien.visualization.panel_layout import overlap_fraction

SIZES = [(48, 48), (512, 512), (4000, 3000), (600, 100), (100, 600), (30000, 10), (4000, 300)]


def face(box, dominant="happy", labels=EMOTIONS, **more):
    rest = 0.3 / (len(labels) - 1)
    emotions = {name: 0.7 if name == dominant else rest for name in labels}
    return Face(tuple(map(float, box)), 0.9, emotions, **more)


def gray_image(width, height):
    return np.full((height, width, 3), 200, np.uint8)


@pytest.fixture
def panels(monkeypatch):
    """Records the corners of every drawn panel, with the size of the image."""
    recorded = []
    original = annotate._draw_panel

    def spy(canvas, corners, *rest, **more):
        recorded.append((corners, canvas.im.size))
        return original(canvas, corners, *rest, **more)

    monkeypatch.setattr(annotate, "_draw_panel", spy)
    return recorded


@pytest.fixture
def texts(monkeypatch):
    """Records every drawn text, with its width, height and position."""
    recorded = []
    original = ImageDraw.ImageDraw.text

    def spy(self, position, text, *rest, font, **more):
        recorded.append((text, *font.getbbox(text)[2:], position))
        return original(self, position, text, *rest, font=font, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    return recorded


@pytest.mark.parametrize("size", SIZES)
def test_an_annotated_image_has_the_size_of_the_original(size):
    pixels = gray_image(*size)
    annotated = draw(pixels, [])
    assert annotated is not pixels
    assert np.array_equal(annotated, pixels)
    assert draw(pixels, [face((0, 0, 9, 9))]).shape == pixels.shape
    assert Annotator()(pixels, [face((0, 0, 9, 9))]).shape == pixels.shape


def test_several_faces_are_labeled_with_their_ids(texts):
    pixels = gray_image(900, 700)
    draw(pixels, [face((50, 50, 200, 200))])
    assert texts[0][0].startswith("happy")
    texts.clear()
    draw(pixels, [face((50, 50, 200, 200)), replace(face((600, 50, 200, 200)), face_id=1)])
    assert [text[:3] for text, *_ in texts if "%" in text] == ["0  ", "1  "]


@pytest.mark.parametrize("size", SIZES)
def test_the_input_is_not_modified(size):
    pixels = gray_image(*size)
    before = pixels.copy()
    annotated = draw(pixels, [face((0, 0, size[0], size[1]))])
    assert np.array_equal(pixels, before)
    assert annotated.dtype == np.uint8
    assert annotated.shape[2] == 3
    assert not np.array_equal(annotated, draw(pixels, []))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("position", ["middle", "upper left", "lower right", "all", "beyond"])
def test_the_panel_lies_within_the_image(panels, size, position):
    width, height = size
    third = min(size) / 3
    boxes = {
        "middle": (width / 2 - third / 2, height / 2 - third / 2, third, third),
        "upper left": (0, 0, third, third),
        "lower right": (width - third, height - third, third, third),
        "all": (0, 0, width, height),
        "beyond": (-third, -third, 3 * third, 5 * third),
    }
    draw(gray_image(*size), [face(boxes[position], labels=EMOTIONS_AND_CONTEMPT)])
    for (left, top, right, bottom), image_size in panels:
        assert image_size == size
        assert min(left, top) >= 0
        assert right <= width
        assert bottom <= height
    # Nothing fits into images of 48 or 10 pixels beside a face that fills them.
    assert len(panels) == 1 or min(size) <= 48


@pytest.mark.parametrize("size", [(512, 512), (4000, 3000)])
@pytest.mark.parametrize("labels", [EMOTIONS, EMOTIONS_AND_CONTEMPT])
def test_every_emotion_is_labeled_in_a_legible_size(texts, panels, size, labels):
    side = min(size) / 2
    annotated = draw(gray_image(*size), [face((side / 2, side / 2, side, side), labels=labels)])
    assert [text for text, *_ in texts] == ["happy 70 %", *labels]
    (corners, _), *_ = panels
    for _, width, height, (x, y) in texts:
        assert height >= 9  # pixels
        assert height >= max(annotated.shape[:2]) / 110  # if the image is downscaled to a screen
        assert x + width <= corners[2]
        assert y + height <= corners[3] + 1  # rounding


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (300, ["happy 70 %", *EMOTIONS]),
        (150, ["happy 70 %"]),
        (100, ["happy 70 %"]),
        (56, ["happy"]),
        (20, []),
    ],
)
def test_on_a_small_image_bars_then_text_are_left_out(texts, panels, side, expected):
    box = (0.3 * side, 0.25 * side, 0.35 * side, 0.4 * side)
    draw(gray_image(side, side), [face(box)])
    assert [text for text, *_ in texts] == expected
    for corners, _ in panels:
        own = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        assert overlap_fraction(corners, [own]) <= 0.25
    for _, width, height, (x, y) in texts:
        assert height >= 9
        assert x + width <= side
        assert y + height <= side


def test_a_face_that_fills_a_small_image_has_no_bars(texts):
    for side in (48, 96, 140):
        texts.clear()
        draw(gray_image(side, side), [face((2, 2, side - 4, side - 4))])
        assert [text for text, *_ in texts] in ([], ["happy"], ["happy 70 %"])


def test_a_preview_enlarges_small_images_and_their_boxes():
    pixels, (enlarged,) = enlarge(gray_image(48, 24), [face((12, 6, 20, 10))])
    assert pixels.shape == (240, 480, 3)
    assert enlarged.box == (120, 60, 200, 100)
    large = gray_image(600, 400)
    assert enlarge(large, [])[0] is large


def test_a_face_with_flags_gets_a_question_mark(texts):
    draw(gray_image(512, 512), [face((100, 100, 200, 200), flags=("blurred",))])
    assert texts[0][0] == "happy 70 % ?"


def test_a_small_face_has_no_bars(texts):
    draw(gray_image(900, 900), [face((400, 400, 30, 30))])
    assert [text for text, *_ in texts] == ["happy 70 %"]


@pytest.mark.parametrize("emotion", EMOTIONS_AND_CONTEMPT)
def test_the_longest_header_fits_its_panel(texts, panels, emotion):
    emotions = dict.fromkeys(EMOTIONS_AND_CONTEMPT, 0.0) | {emotion: 1.0}
    for side in (30.0, 300.0):
        texts.clear()
        panels.clear()
        flagged = Face((9.0, 9.0, side, side), 0.9, emotions, 88, ("blurred",))
        Annotator()(gray_image(900, 900), [flagged])
        (header, width, _, (x, _)), *_ = texts
        assert header == f"88  {emotion} 100 % ?"
        ((corners, _),) = panels
        assert x + width <= corners[2]


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_box_has_the_color_of_its_emotion(emotion):
    annotated = draw(gray_image(640, 640), [face((200, 200, 240, 240), emotion)])
    expected = tuple(int(COLORS[emotion][k : k + 2], 16) for k in (1, 3, 5))
    upper_edge = annotated[199:203, 320]
    assert (upper_edge == expected).all(1).any()


def test_the_colors_have_enough_contrast_on_the_panel():
    def luminance(color):
        srgb = np.array(color) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    assert set(COLORS) == set(EMOTIONS_AND_CONTEMPT)
    for color in COLORS.values():
        rgb = [int(color[k : k + 2], 16) for k in (1, 3, 5)]
        contrast = (luminance(rgb) + 0.05) / (luminance(annotate.PANEL_COLOR[:3]) + 0.05)
        assert contrast >= 4.5


def test_panels_of_neighbors_do_not_cover_each_other(panels):
    boxes = [(100, 200, 100, 100), (400, 200, 100, 100), (700, 200, 100, 100)]
    draw(gray_image(1200, 900), [face(box) for box in boxes])
    corners = [corners for corners, _ in panels]
    for k, panel in enumerate(corners):
        assert overlap_fraction(panel, corners[:k] + corners[k + 1 :]) == 0
        assert overlap_fraction(panel, [(x, y, x + w, y + h) for x, y, w, h in boxes]) == 0


def test_in_a_crowd_panels_have_no_bars(panels, texts):
    boxes = [(100 * x, 100 * y, 90, 90) for x in range(6) for y in range(6)]
    draw(gray_image(600, 600), [face(box) for box in boxes])
    assert len(texts) <= len(boxes)  # a panel with bars has eight texts


@pytest.mark.parametrize("side", [240, 400, 600])
def test_in_a_crowd_panels_do_not_hide_the_text_of_others(panels, texts, side):
    step = side / 8
    boxes = [(step * x, step * y, 0.5 * step, 0.6 * step) for x in range(8) for y in range(8)]
    draw(gray_image(side, side), [face(box, face_id=k) for k, box in enumerate(boxes)])
    corners = [corners for corners, _ in panels]
    for k, panel in enumerate(corners):
        for other in corners[:k]:
            assert max(overlap_fraction(panel, [other]), overlap_fraction(other, [panel])) <= 0.1
    assert 20 < len(texts) <= len(boxes)  # at least a third of the 64 panels has text


def test_in_a_video_a_panel_keeps_its_position_relative_to_the_face(panels, texts):
    annotator, offsets = Annotator(), {3: [], 7: []}
    for step in range(60):
        panels.clear()
        texts.clear()
        shake = (step * 7) % 5 - 2  # -2 to 2 pixels
        boxes = {7: (250 + shake, 120, 120, 120), 3: (640 - shake, 140 + shake, 110, 110)}
        order = list(boxes) if step % 2 else list(boxes)[::-1]
        annotator(gray_image(1000, 500), [face(boxes[k], face_id=k) for k in order])
        names = [text.split()[0] for text, *_ in texts if "%" in text]
        for name, (corners, _) in zip(names, panels, strict=True):
            box = boxes[int(name)]
            offsets[int(name)].append((corners[0] - box[0], corners[1] - box[1]))
    for face_offsets in offsets.values():
        assert len(face_offsets) == 60
        assert (
            np.ptp(face_offsets, axis=0).max() <= 5
        )  # pixels: it does not jump to another side of the face


def test_panels_lose_their_bars_while_two_faces_are_close(texts):
    annotator, text_counts = Annotator(), []
    for x in (*range(10, 200, 5), *range(200, 10, -5)):
        texts.clear()
        annotator(gray_image(640, 330), [face((x, 100, 110, 110), face_id=0),
                                 face((520 - x, 110, 110, 110), face_id=1)])  # fmt: skip
        text_counts.append(len(texts))
    assert text_counts[0] == text_counts[-1] == 2 * (1 + len(EMOTIONS))
    assert min(text_counts) < text_counts[0]
    assert sum(a != b for a, b in itertools.pairwise(text_counts)) <= 8  # no flicker


def test_a_video_shows_smoothed_emotions(texts):
    happy_face = face((100, 100, 200, 200), "happy")
    smoothed = {name: 1.0 if name == "sad" else 0.0 for name in EMOTIONS}
    Annotator()(gray_image(640, 640), [replace(happy_face, smoothed=smoothed)])
    assert texts[0][0] == "0  sad 100 %"


def test_only_the_surroundings_of_the_face_are_changed():
    pixels = gray_image(2000, 1500)
    annotated = draw(pixels, [face((100, 100, 200, 200))])
    assert (annotated == pixels).all(2).mean() > 0.9


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.lists(
        st.tuples(*[st.floats(-900, 900)] * 2, *[st.floats(0, 900)] * 2), min_size=1, max_size=3
    ),
)
@settings(max_examples=40, deadline=None)
def test_any_box_on_any_image_can_be_drawn(size, boxes):
    annotated = draw(gray_image(*size), [face(box) for box in boxes])
    assert annotated.dtype == np.uint8
    assert annotated.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("pixels", ["photo.jpg", np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3))])
def test_invalid_pixels_are_an_error(pixels):
    with pytest.raises(UserError, match="uint8"):
        draw(pixels, [])
