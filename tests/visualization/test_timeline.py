"""The picture of a video: strips whose colours are what each face showed."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from mien.errors import UserError
from mien.results import Face, Frame, Result
from mien.visualization import timeline, timeline_data
from mien.visualization.annotate import COLORS

PIXELS = np.full((90, 160, 3), 128, np.uint8)
WIDE = timeline.WIDE - timeline.LEFT - timeline.RIGHT


def face(face_id=0, **shares):
    emotions = {name: shares.get(name, 0.0) for name in COLORS if name != "contempt"}
    return Face((20.0, 10.0, 40.0, 50.0), 0.9, emotions, face_id)


def put(path, found, source="clip.mp4"):
    with timeline.open_writer(path) as write:
        for k, faces in enumerate(found):
            write(Result(Frame(PIXELS, source, k, k / 10), faces))
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def colours(pixels, row, column):
    """The colours of a strip, top to bottom, at a share of its length."""
    return strip(pixels, row)[round(column * (WIDE - 1))]


def strip(pixels, row):
    """The colours of a strip by name, column by column, each top to bottom."""
    top = timeline.HEAD + row * (timeline.ROW + timeline.GAP)
    seen = pixels[top : top + timeline.ROW, timeline.LEFT : timeline.LEFT + WIDE]
    away = np.array(ImageColor.getrgb(timeline.AWAY))
    names = {tuple(away.tolist()): "away"}
    for name, colour in COLORS.items():
        rgb = np.array(ImageColor.getrgb(colour))
        names[tuple(rgb.tolist())] = name
        pale = rgb * timeline.FADED + away * (1 - timeline.FADED)
        names[tuple(pale.round().astype(int).tolist())] = f"pale {name}"
    return [[names[tuple(rgb)] for rgb in column] for column in seen.swapaxes(0, 1).tolist()]


def test_a_strip_shows_the_shares_of_each_moment(tmp_path):
    first, second = face(happy=0.75, sad=0.25), face(neutral=1.0)
    pixels = put(tmp_path / "x.png", [[first]] * 50 + [[second]] * 50)
    early, late = colours(pixels, 0, 0.2), colours(pixels, 0, 0.8)
    assert early.count("happy") == pytest.approx(0.75 * timeline.ROW, abs=1)
    assert early.count("sad") == pytest.approx(0.25 * timeline.ROW, abs=1)
    assert early == sorted(early, key=list(COLORS).index)  # the first label at the top
    assert set(late) == {"neutral"}


def test_who_is_away_has_no_colour(tmp_path):
    found = [[face(happy=1.0)]] * 40 + [[]] * 40 + [[face(happy=1.0)]] * 40
    pixels = put(tmp_path / "x.png", found)
    assert [colours(pixels, 0, at)[0] for at in (0.1, 0.5, 0.9)] == ["happy", "away", "happy"]


def test_who_is_not_seen_for_a_moment_is_pale(tmp_path):
    found = [[face(happy=1.0)]] * 40 + [[]] * 10 + [[face(happy=1.0)]] * 20 + [[]] * 2
    found += [[face(happy=1.0)]] * 28
    seen = [column[0] for column in strip(put(tmp_path / "x.png", found), 0)]
    assert set(seen) == {"happy", "pale happy"}
    places = [k / (WIDE - 1) * 9.9 for k, name in enumerate(seen) if name == "pale happy"]
    assert (places[0], places[-1]) == pytest.approx((3.95, 4.95), abs=0.02)


def test_who_is_there_in_the_last_frame_alone_can_be_seen(tmp_path):
    found = [[face(0, happy=1.0)]] * 999 + [[face(0, happy=1.0), face(1, sad=1.0)]]
    seen = [column[0] for column in strip(put(tmp_path / "x.png", found), 1)]
    assert 3 <= seen.count("sad") <= timeline.FEWEST
    assert seen[-3:] == ["sad"] * 3
    assert set(seen[: -timeline.FEWEST]) == {"away"}


def story_of(found, step=0.1):
    told = timeline_data.Timeline()
    for k, faces in enumerate(found):
        told.add(Result(Frame(PIXELS, "clip.mp4", k, k * step), faces))
    return told


def test_a_face_is_there_between_sightings_and_half_a_step_around_them():
    told = story_of([[]] * 20 + [[face()]] * 20 + [[]] * 30 + [[face()]] * 2 + [[]] * 28)
    places = np.array([1.9, 1.96, 2.0, 3.0, 3.94, 4.0, 5.0, 6.9, 7.05, 7.1, 7.2])
    _, how = told.seen(told.lines[0], places)
    assert how.tolist() == [0, 2, 2, 2, 2, 0, 0, 0, 2, 2, 0]


def test_frames_that_are_far_apart_make_nobody_pale_or_gone():
    told = story_of([[face()]] * 10 + [[]] + [[face()]] * 9, step=2.0)
    assert told.gap() == 5.0
    _, how = told.seen(told.lines[0], np.arange(0, 38, 0.1))
    assert set(how.tolist()) == {timeline_data.SEEN}


def test_a_pause_between_frames_does_not_change_the_usual_step():
    told = timeline_data.Timeline()
    for k in range(100):
        told.add(Result(Frame(PIXELS, "clip.mp4", k, k / 10 + 60 * (k > 50)), [face()]))
    assert told.step() == pytest.approx(0.1)
    assert told.gap() == timeline_data.MAX_AGE_SECONDS
    _, how = told.seen(told.lines[0], np.array([5.0, 5.2, 30.0, 65.1]))
    assert how.tolist() == [2, 0, 0, 2]


def test_a_story_of_any_length_stays_small(monkeypatch):
    monkeypatch.setattr(timeline_data, "MAX_POINTS", 50)
    monkeypatch.setattr(timeline_data, "MAX_STEPS", 20)
    monkeypatch.setattr(timeline_data, "MAX_STILLS", 5)
    # There for the first and the last quarter.
    told = story_of([[face(happy=1.0)] if k < 500 or k >= 1500 else [] for k in range(2000)])
    line = told.lines[0]
    assert 20 <= len(line.times) == len(line.shares) == len(line.boxes) <= 50
    assert len(told.steps) <= 20
    assert told.step() == pytest.approx(0.1)
    assert sum(line.often) == 1000
    assert set(map(tuple, line.boxes)) == {(125, 111, 250, 556)}
    assert line.times[-1] == pytest.approx(199.9)
    _, how = told.seen(line, np.array([10.0, 40.0, 100.0, 160.0, 199.0]))
    assert how.tolist() == [2, 2, 0, 2, 2]
    assert line.step < 10  # the time away does not count


def test_of_many_passers_by_the_shortest_are_only_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(timeline_data, "MAX_LINES", 40)
    who_stays = face(0, happy=1.0)
    passing = [[who_stays, face(k, sad=1.0)] for k in range(1, 301)]
    told = story_of(passing)
    assert len(told.lines) == len(told.summaries.records()) <= 41
    assert told.lines[0].often[3] == 300  # happy
    assert told.forgotten + len(told.lines) == 301
    # Who was there for long is kept, though gone.
    long = [[face(k, happy=1.0) for k in range(15)]] * 100
    short = [[face(100 + k, sad=1.0) for k in range(26)]] * 25
    told = story_of(long + [[]] * 40 + short)
    assert set(range(15)) < set(told.lines)


def test_only_what_was_smoothed_is_said_to_be():
    assert not story_of([[face(happy=1.0)]]).smoothed
    smooth = replace(face(happy=1.0), smoothed={"happy": 0.5, "sad": 0.5})
    assert story_of([[face(happy=1.0)], [smooth]]).smoothed


def test_smoothed_emotions_are_what_is_shown(tmp_path):
    smooth = Face((20.0, 10.0, 40.0, 50.0), 0.9, {"happy": 1.0, "sad": 0.0}, 0, (),
                  {"happy": 0.0, "sad": 1.0})  # fmt: skip
    assert colours(put(tmp_path / "x.png", [[smooth]] * 9), 0, 0.5)[0] == "sad"


def test_the_longest_on_screen_come_first_and_the_rest_are_counted(tmp_path):
    crowd = [face(k, happy=1.0) for k in range(timeline.MAX_FACES + 4)]
    long = face(99, sad=1.0)
    pixels = put(tmp_path / "x.png", [[long, *crowd]] * 5 + [[long]] * 20)
    assert colours(pixels, 0, 0.9)[0] == "sad"
    rows = timeline.MAX_FACES * (timeline.ROW + timeline.GAP)
    assert pixels.shape == (timeline.HEAD + rows + timeline.FOOT, timeline.WIDE, 3)


@pytest.mark.parametrize("found", [[[]] * 5, [[face(sad=1.0)]]])
def test_no_face_and_a_single_frame_are_drawn_too(tmp_path, found):
    assert put(tmp_path / "x.png", found).any()


def test_nothing_is_no_picture(tmp_path):
    with timeline.open_writer(tmp_path / "x.png"):
        pass
    assert not (tmp_path / "x.png").exists()


def test_what_cannot_be_drawn_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match="A timeline is a picture"):
        timeline.open_writer(tmp_path / "x.csv")
    with timeline.open_writer(tmp_path / "x.png") as write:
        write(Result(Frame(PIXELS, "a.mp4"), []))
        with pytest.raises(UserError, match=r"b\.mp4 is another"):
            write(Result(Frame(PIXELS, "b.mp4"), []))


@pytest.mark.parametrize(
    ("seconds", "tick", "said"),
    [(0, 1, "0:00"), (65, 5, "1:05"), (3600, 600, "1:00:00"), (0.5, 0.1, "0:00.5"),
     (59.99, 10, "1:00")],
)  # fmt: skip
def test_times_are_written_as_people_do(seconds, tick, said):
    assert timeline._clock(seconds, tick) == said
