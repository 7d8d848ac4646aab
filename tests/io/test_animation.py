"""Animated images are read as videos."""

import numpy as np
import pytest
from PIL import Image

import mien
from mien.errors import UserError
from mien.io import reader
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from tests.synthetic.images import animation, encoded

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
DURATIONS = [100, 250, 50]
"""Milliseconds for which the three frames of `source` are shown."""

TIMES = [0, 0.1, 0.35]
"""Seconds at which they begin."""


@pytest.fixture(params=FORMATS)
def source(request, tmp_path):
    """An animation of a red, a green and a blue frame in each format, in a file without suffix."""
    path = tmp_path / "a"
    path.write_bytes(animation(request.param, duration=DURATIONS))
    return Source.parse(str(path))


def test_frames_have_their_own_times(source):
    frames = list(reader.frames(source))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.seconds for frame in frames] == pytest.approx(TIMES)
    assert {frame.kind for frame in frames} == {"animation"}
    expected = ([255, 0, 0], [0, 255, 0], [0, 0, 255])
    for frame, color in zip(frames, expected, strict=True):
        assert np.abs(frame.pixels[0, 0].astype(int) - color).max() < 40  # some codecs are lossy


def test_frames_are_selected_by_time_and_number(source):
    def numbers(**selection):
        return [frame.number for frame in reader.frames(source, FrameSelection(**selection))]

    assert numbers(every=2) == [0, 2]
    assert numbers(start=0.1) == [1, 2]
    assert numbers(end=0.1) == [0, 1]
    rest = reader.frames(source, FrameSelection(every=2).starting_at(2, 0.35))
    assert [frame.number for frame in rest] == [2]
    with pytest.raises(UserError, match=r"0\.3 s"):  # the last frame is at 0.35 s
        numbers(start=9)


def test_reading_stops_on_request(source):
    for start in (0, 0.1):
        selection = FrameSelection(start=start)
        assert list(reader.frames(source, selection, should_stop=lambda: True)) == []


def test_frame_above_the_pixel_limit_is_an_error(source):
    with pytest.raises(UserError, match="pixels"):
        list(reader.frames(source, max_pixels=10))


@pytest.mark.parametrize(("stored", "shown"), [(0, 0.1), (10, 0.1), (20, 0.02), (30, 0.03)])
@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_frames_of_at_most_10_ms_are_shown_for_100_ms(tmp_path, image_format, stored, shown):
    (tmp_path / "a").write_bytes(animation(image_format, duration=stored))
    frames = list(reader.frames(Source.parse(str(tmp_path / "a"))))
    assert [frame.seconds for frame in frames] == pytest.approx([0, shown, 2 * shown])


def test_the_still_before_a_png_animation_is_not_a_frame(tmp_path):
    still, *rest = [Image.new("RGB", (8, 6), color) for color in ("white", "red", "lime")]
    body = encoded(
        still, "PNG", save_all=True, append_images=rest, default_image=True, duration=[100, 40]
    )
    (tmp_path / "a.png").write_bytes(body)
    frames = list(reader.frames(Source.parse(str(tmp_path / "a.png"))))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1])
    assert [frame.pixels[0, 0].tolist() for frame in frames] == [[255, 0, 0], [0, 255, 0]]


def test_damage_after_the_first_frame_is_a_warning(tmp_path):
    frames = [Image.effect_noise((64, 64), 60) for _ in range(4)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
    (tmp_path / "a.gif").write_bytes(body[: len(body) * 5 // 8])  # ends within the third frame
    errors = []
    read = list(reader.frames(Source.parse(str(tmp_path / "a.gif")), on_warning=errors.append))
    assert len(read) == 2, errors
    assert len(errors) == 1


def test_analyze_reads_the_first_frame_and_stream_all(source, tiny_model):
    analyzer = mien.Analyzer(str(tiny_model), "whole")
    result = analyzer.analyze(source.location)
    assert (result.frame.number, result.frame.kind) == (0, "image")
    results = list(analyzer.stream(source.location))
    assert [result.frame.seconds for result in results] == pytest.approx(TIMES)
    assert all(face.smoothed for result in results for face in result)
