"""Timelines: series in bounded memory, and drawing them as strips."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor

from mien.errors import UserError
from mien.labels import COLORS
from mien.results import Face, Frame, Result
from mien.tracking.frame_interval import MAX_AGE_INTERVALS, MAX_AGE_SECONDS
from mien.visualization import timeline, timeline_data
from mien.visualization.thumbnails import encode_portrait
from mien.visualization.time_format import format_duration, format_time
from mien.visualization.timeline_data import ABSENT, VISIBLE

PIXELS = np.full((90, 160, 3), 128, np.uint8)


def face(face_id=0, **shares):
    emotions = {name: shares.get(name, 0.0) for name in COLORS if name != "contempt"}
    return Face((20.0, 10.0, 40.0, 50.0), 0.9, emotions, face_id)


def write_image(path, frames, source="clip.mp4"):
    """Write a timeline of the faces of each frame, at ten frames per second; return its pixels."""
    with timeline.open_writer(path) as write:
        for k, faces in enumerate(frames):
            write(Result(Frame(PIXELS, source, k, k / 10), faces))
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def strip_column(pixels, row, position):
    """Return the color names, top to bottom, of a column of the strip in a row.

    `position` is 0 at the left and 1 at the right of the strip.
    """
    return strip(pixels, row)[round(position * (timeline.STRIP_WIDTH - 1))]


def strip(pixels, row):
    """Return the color names of the strip in a row: a list of columns, each top to bottom."""
    top = timeline.HEADER_HEIGHT + row * (timeline.STRIP_HEIGHT + timeline.STRIP_GAP)
    strip_pixels = pixels[
        top : top + timeline.STRIP_HEIGHT,
        timeline.LEFT_MARGIN : timeline.LEFT_MARGIN + timeline.STRIP_WIDTH,
    ]
    absent = np.array(ImageColor.getrgb(timeline.ABSENT_COLOR))
    names = {tuple(absent.tolist()): "absent"}
    for name, color in COLORS.items():
        rgb = np.array(ImageColor.getrgb(color))
        names[tuple(rgb.tolist())] = name
        pale = rgb * timeline.INTERPOLATED_OPACITY + absent * (1 - timeline.INTERPOLATED_OPACITY)
        names[tuple(pale.round().astype(int).tolist())] = f"pale {name}"
    return [
        [names[tuple(rgb)] for rgb in column] for column in strip_pixels.swapaxes(0, 1).tolist()
    ]


def test_a_strip_shows_the_shares_at_each_time(tmp_path):
    first, second = face(happy=0.75, sad=0.25), face(neutral=1.0)
    pixels = write_image(tmp_path / "x.png", [[first]] * 50 + [[second]] * 50)
    early, late = strip_column(pixels, 0, 0.2), strip_column(pixels, 0, 0.8)
    assert early.count("happy") == pytest.approx(0.75 * timeline.STRIP_HEIGHT, abs=1)
    assert early.count("sad") == pytest.approx(0.25 * timeline.STRIP_HEIGHT, abs=1)
    assert early == sorted(early, key=list(COLORS).index)  # the first emotion at the top
    assert set(late) == {"neutral"}


def test_an_absent_face_has_no_color(tmp_path):
    frames = [[face(happy=1.0)]] * 40 + [[]] * 40 + [[face(happy=1.0)]] * 40
    pixels = write_image(tmp_path / "x.png", frames)
    assert [strip_column(pixels, 0, at)[0] for at in (0.1, 0.5, 0.9)] == [
        "happy",
        "absent",
        "happy",
    ]


def test_interpolated_times_are_pale(tmp_path):
    visible, absent = [[face(happy=1.0)]], [[]]
    # Only the gap of a second is interpolated; the other is too short.
    frames = visible * 40 + absent * 10 + visible * 20 + absent * 2 + visible * 28
    last_time = 9.9  # of the 100th frame
    colors = [column[0] for column in strip(write_image(tmp_path / "x.png", frames), 0)]
    assert set(colors) == {"happy", "pale happy"}
    pale_times = [
        k / (timeline.STRIP_WIDTH - 1) * last_time
        for k, name in enumerate(colors)
        if name == "pale happy"
    ]
    # The neighbors at 3.9 and 5.0 seconds are visible for half an interval more.
    assert (pale_times[0], pale_times[-1]) == pytest.approx((3.95, 4.95), abs=0.02)


def test_a_face_of_a_single_frame_is_drawn_in_the_minimum_width(tmp_path):
    frames = [[face(0, happy=1.0)]] * 999 + [[face(0, happy=1.0), face(1, sad=1.0)]]
    colors = [column[0] for column in strip(write_image(tmp_path / "x.png", frames), 1)]
    # Half of the minimum width is beyond the end of the video; rounding can hide one more pixel.
    assert colors.count("sad") >= timeline.MIN_VISIBLE_PIXELS // 2 - 1
    assert colors.count("sad") <= timeline.MIN_VISIBLE_PIXELS
    assert colors[-3:] == ["sad"] * 3
    assert set(colors[: -timeline.MIN_VISIBLE_PIXELS]) == {"absent"}


def collect(frames, interval=0.1):
    """Return the `Timeline` of the faces of each frame."""
    collected = timeline_data.Timeline()
    for k, faces in enumerate(frames):
        collected.add(Result(Frame(PIXELS, "clip.mp4", k, k * interval), faces))
    return collected


def test_a_face_is_visible_between_points_and_half_an_interval_around_them():
    collected = collect([[]] * 20 + [[face()]] * 20 + [[]] * 30 + [[face()]] * 2 + [[]] * 28)
    visible_times = np.array([1.96, 2.0, 3.0, 3.94, 7.05, 7.1])
    absent_times = np.array([1.9, 4.0, 5.0, 6.9, 7.2])
    for times, expected in ((visible_times, VISIBLE), (absent_times, ABSENT)):
        _, status = collected.sample(collected.series[0], times)
        assert set(status.tolist()) == {expected}


def test_a_face_is_visible_between_frames_that_are_far_apart():
    collected = collect([[face()]] * 10 + [[]] + [[face()]] * 9, interval=2.0)
    assert collected.max_gap() == MAX_AGE_INTERVALS * 2.0
    _, status = collected.sample(collected.series[0], np.arange(0, 38, 0.1))
    assert set(status.tolist()) == {VISIBLE}


def test_a_pause_between_frames_does_not_change_the_typical_interval():
    collected = timeline_data.Timeline()
    for k in range(100):
        collected.add(Result(Frame(PIXELS, "clip.mp4", k, k / 10 + 60 * (k > 50)), [face()]))
    assert collected.typical_interval() == pytest.approx(0.1)
    assert collected.max_gap() == MAX_AGE_SECONDS
    _, status = collected.sample(collected.series[0], np.array([5.0, 5.2, 30.0, 65.1]))
    assert status.tolist() == [VISIBLE, ABSENT, ABSENT, VISIBLE]


def test_the_memory_of_a_timeline_is_bounded(monkeypatch):
    monkeypatch.setattr(timeline_data, "MAX_POINTS", 50)
    monkeypatch.setattr(timeline_data, "MAX_INTERVALS", 20)
    monkeypatch.setattr(timeline_data, "MAX_STILLS", 5)
    # Visible in the first and the last quarter.
    collected = collect([[face(happy=1.0)] if k < 500 or k >= 1500 else [] for k in range(2000)])
    series = collected.series[0]
    assert 20 <= len(series.times) == len(series.shares) == len(series.boxes) <= 50
    assert len(collected.intervals) <= 20
    assert collected.typical_interval() == pytest.approx(0.1)
    assert set(map(tuple, series.boxes)) == {(125, 111, 250, 556)}  # thousandths of the frame
    assert series.times[-1] == pytest.approx(199.9)
    _, status = collected.sample(series, np.array([10.0, 40.0, 100.0, 160.0, 199.0]))
    assert status.tolist() == [VISIBLE, VISIBLE, ABSENT, VISIBLE, VISIBLE]
    assert series.min_interval < 10  # the absence does not count


def test_the_series_of_absent_faces_with_the_least_time_on_screen_are_dropped(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(timeline_data, "MAX_SERIES", 40)
    permanent_face = face(0, happy=1.0)
    passing = [[permanent_face, face(k, sad=1.0)] for k in range(1, 301)]
    collected = collect(passing)
    assert len(collected.series) == len(collected.summaries.records()) <= 40
    assert collected.dropped_faces + len(collected.series) == 301
    # 41 faces are one too many; the absent faces with a long time on screen are kept.
    long = [[face(k, happy=1.0) for k in range(15)]] * 100
    short = [[face(100 + k, sad=1.0) for k in range(26)]] * 25
    collected = collect(long + [[]] * 40 + short)
    assert set(range(15)) < set(collected.series)


def test_the_smoothed_flag_is_set_if_any_face_is_smoothed():
    assert not collect([[face(happy=1.0)]]).smoothed
    smooth = replace(face(happy=1.0), smoothed={"happy": 0.5, "sad": 0.5})
    assert collect([[face(happy=1.0)], [smooth]]).smoothed


def test_smoothed_emotions_are_drawn(tmp_path):
    smooth = Face((20.0, 10.0, 40.0, 50.0), 0.9, {"happy": 1.0, "sad": 0.0}, 0, (),
                  {"happy": 0.0, "sad": 1.0})  # fmt: skip
    assert strip_column(write_image(tmp_path / "x.png", [[smooth]] * 9), 0, 0.5)[0] == "sad"


def test_faces_are_sorted_by_time_on_screen_and_limited(tmp_path):
    crowd = [face(k, happy=1.0) for k in range(timeline.MAX_STRIPS + 4)]
    long = face(99, sad=1.0)
    pixels = write_image(tmp_path / "x.png", [[long, *crowd]] * 5 + [[long]] * 20)
    assert strip_column(pixels, 0, 0.9)[0] == "sad"
    rows = timeline.MAX_STRIPS * (timeline.STRIP_HEIGHT + timeline.STRIP_GAP)
    assert pixels.shape == (
        timeline.HEADER_HEIGHT + rows + timeline.FOOTER_HEIGHT,
        timeline.TIMELINE_WIDTH,
        3,
    )


@pytest.mark.parametrize("frames", [[[]] * 5, [[face(sad=1.0)]]])
def test_a_timeline_without_faces_or_with_a_single_frame_is_drawn(tmp_path, frames):
    assert write_image(tmp_path / "x.png", frames).any()


def test_without_frames_no_image_is_written(tmp_path):
    with timeline.open_writer(tmp_path / "x.png"):
        pass
    assert not (tmp_path / "x.png").exists()


def test_another_suffix_or_a_second_source_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"x\.csv"):
        timeline.open_writer(tmp_path / "x.csv")
    with timeline.open_writer(tmp_path / "x.png") as write:
        write(Result(Frame(PIXELS, "a.mp4"), []))
        with pytest.raises(UserError, match=r"b\.mp4 "):
            write(Result(Frame(PIXELS, "b.mp4"), []))


@pytest.mark.parametrize(
    ("seconds", "resolution", "expected"),
    [(0, 1, "0:00"), (65, 5, "1:05"), (3600, 600, "1:00:00"), (0.5, 0.1, "0:00.5"),
     (59.99, 10, "1:00"), (59.99, 0.1, "1:00.0"), (3599.97, 0.1, "1:00:00.0")],
)  # fmt: skip
def test_times_are_rounded_to_tenths_or_whole_seconds(seconds, resolution, expected):
    assert format_time(seconds, resolution) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "under 0.1 s"), (0.04, "under 0.1 s"), (0.06, "0.1 s")]
)
def test_a_duration_is_never_zero(seconds, expected):
    assert format_duration(seconds) == expected


def test_a_portrait_is_clipped_to_the_image():
    def size(x, y):
        portrait = encode_portrait(PIXELS, replace(face(), box=(x, y, 50.0, 50.0)), max_side=96)
        return Image.open(io.BytesIO(portrait)).size if portrait else None

    # The square is 60 pixels wide and begins 5 pixels to the left of and above the box.
    assert size(50.0, 20.0) == (60, 60)
    assert size(-10.0, -15.0) == (45, 40)
    assert size(140.0, 70.0) == (25, 25)
    for outside in ((-60.0, 20.0), (50.0, -60.0), (170.0, 20.0), (50.0, 100.0)):
        assert size(*outside) is None


def test_shots_are_marked(tmp_path):
    path = tmp_path / "shots.png"
    with timeline.open_writer(path) as write:
        for k in range(100):
            frame = Frame(PIXELS, "clip.mp4", k, k / 10, shot=k // 50)
            write(Result(frame, [face(k // 50, happy=1.0)]))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    # The second shot begins at 5.0 of 9.9 seconds; its mark crosses the gap between the strips.
    expected = timeline.LEFT_MARGIN + round(5.0 / 9.9 * timeline.STRIP_WIDTH)
    row = timeline.HEADER_HEIGHT + timeline.STRIP_HEIGHT + timeline.STRIP_GAP // 2
    is_dark = pixels[row, timeline.LEFT_MARGIN :].max(1) < 60
    (position,) = timeline.LEFT_MARGIN + np.flatnonzero(is_dark)
    assert position == pytest.approx(expected, abs=1)


def test_shots_of_a_long_film_are_not_marked():
    data = timeline_data.Timeline()
    for k in range(timeline_data.MAX_SHOTS + 50):
        data.add(Result(Frame(PIXELS[:8, :8], "clip.mp4", k, k / 10, shot=k)))
        assert len(data.shot_starts) <= timeline_data.MAX_SHOTS + 1
    assert data.marked_shots() == []
