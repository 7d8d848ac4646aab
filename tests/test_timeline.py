"""The picture of a video: strips whose colours are what each face showed."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from mien import timeline
from mien.drawing import COLOURS
from mien.errors import UserError
from mien.faces import Face, Frame

PIXELS = np.full((90, 160, 3), 128, np.uint8)


def face(face_id=0, **shares):
    emotions = {name: shares.get(name, 0.0) for name in COLOURS if name != "contempt"}
    return Face((20.0, 10.0, 40.0, 50.0), 0.9, emotions, face_id)


def put(path, found, source="clip.mp4"):
    with timeline.to(path) as write:
        for k, faces in enumerate(found):
            write(Frame(PIXELS, source, k, k / 10), faces)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def colours(pixels, row, column):
    """The colours of a strip, bottom to top, at a share of its length."""
    top = timeline.HEAD + row * (timeline.ROW + timeline.GAP)
    x = timeline.LEFT + round(column * (timeline.WIDE - timeline.LEFT - timeline.RIGHT - 1))
    seen = [tuple(int(v) for v in rgb) for rgb in pixels[top : top + timeline.ROW, x][::-1]]
    names = {ImageColor.getrgb(colour): name for name, colour in COLOURS.items()}
    names[ImageColor.getrgb(timeline.AWAY)] = "away"
    return [names[rgb] for rgb in seen]


def test_a_strip_shows_the_shares_of_each_moment(tmp_path):
    first, second = face(happy=0.75, sad=0.25), face(neutral=1.0)
    pixels = put(tmp_path / "x.png", [[first]] * 50 + [[second]] * 50)
    early, late = colours(pixels, 0, 0.2), colours(pixels, 0, 0.8)
    assert early.count("happy") == pytest.approx(0.75 * timeline.ROW, abs=1)
    assert early.count("sad") == pytest.approx(0.25 * timeline.ROW, abs=1)
    assert early[0] == "happy"
    assert set(late) == {"neutral"}


def test_who_is_away_has_no_colour(tmp_path):
    found = [[face(happy=1.0)]] * 40 + [[]] * 40 + [[face(happy=1.0)]] * 40
    pixels = put(tmp_path / "x.png", found)
    assert [colours(pixels, 0, at)[0] for at in (0.1, 0.5, 0.9)] == ["happy", "away", "happy"]


def test_smoothed_emotions_are_what_is_shown(tmp_path):
    smooth = Face((20.0, 10.0, 40.0, 50.0), 0.9, {"happy": 1.0, "sad": 0.0}, 0, (),
                  {"happy": 0.0, "sad": 1.0})  # fmt: skip
    assert colours(put(tmp_path / "x.png", [[smooth]] * 9), 0, 0.5)[0] == "sad"


def test_the_longest_on_screen_come_first_and_the_rest_are_counted(tmp_path):
    crowd = [face(k, happy=1.0) for k in range(timeline.MOST_FACES + 4)]
    long = face(99, sad=1.0)
    pixels = put(tmp_path / "x.png", [[long, *crowd]] * 5 + [[long]] * 20)
    assert colours(pixels, 0, 0.9)[0] == "sad"
    rows = timeline.MOST_FACES * (timeline.ROW + timeline.GAP)
    assert pixels.shape == (timeline.HEAD + rows + timeline.FOOT, timeline.WIDE, 3)


@pytest.mark.parametrize("found", [[[]] * 5, [[face(sad=1.0)]]])
def test_no_face_and_a_single_frame_are_drawn_too(tmp_path, found):
    assert put(tmp_path / "x.png", found).any()


def test_nothing_is_no_picture(tmp_path):
    with timeline.to(tmp_path / "x.png"):
        pass
    assert not (tmp_path / "x.png").exists()


def test_what_cannot_be_drawn_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match="A timeline is a picture"):
        timeline.to(tmp_path / "x.csv")
    with timeline.to(tmp_path / "x.png") as write:
        write(Frame(PIXELS, "a.mp4"), [])
        with pytest.raises(UserError, match=r"b\.mp4 is another"):
            write(Frame(PIXELS, "b.mp4"), [])


@pytest.mark.parametrize(
    ("seconds", "tick", "said"),
    [(0, 1, "0:00"), (65, 5, "1:05"), (3600, 600, "1:00:00"), (0.5, 0.1, "0:00.5"),
     (59.99, 10, "1:00")],
)  # fmt: skip
def test_times_are_written_as_people_do(seconds, tick, said):
    assert timeline._clock(seconds, tick) == said
