"""Writers of a single video: MP4 and HTML."""

import json
import re

import numpy as np
import pytest

from mien import writers
from mien.errors import UserError
from mien.io import video
from mien.io.source import Source
from mien.labels import EMOTIONS
from mien.results import Frame, Result
from tests.io.video_files import make_face


def test_frame_too_large_for_the_encoder_is_an_error(tmp_path):
    with (
        pytest.raises(UserError, match=r"Cannot write .*wide\.mp4"),
        writers.open_writer(tmp_path / "wide.mp4") as write,
    ):
        write(Result(Frame(np.zeros((16, 20_000, 3), np.uint8), "x"), []))
    assert list(tmp_path.iterdir()) == []


def test_timestamps_of_a_damaged_file_are_an_error(tmp_path):
    pixels = np.zeros((48, 64, 3), np.uint8)
    with writers.open_writer(tmp_path / "x.mp4") as write:
        write(Result(Frame(pixels, "x"), []))
        with pytest.raises(UserError, match="1e\\+17 s"):
            write(Result(Frame(pixels, "x", 1, 1e17), []))


def test_annotated_videos_have_an_even_size_of_at_least_two_pixels(tmp_path):
    with writers.open_writer(tmp_path / "odd.mp4") as write:
        for k in range(3):
            write(Result(Frame(np.zeros((501, 703, 3), np.uint8), "x", k, k / 25), []))
    assert next(video.frames(Source.parse(str(tmp_path / "odd.mp4")))).pixels.shape == (500, 702, 3)
    with writers.open_writer(tmp_path / "line.mp4") as write:
        write(Result(Frame(np.zeros((300, 1, 3), np.uint8), "x"), []))
    assert next(video.frames(Source.parse(str(tmp_path / "line.mp4")))).pixels.shape == (300, 2, 3)


def test_no_video_is_written_without_frames(tmp_path):
    with writers.open_writer(tmp_path / "none.mp4"):
        pass
    assert not (tmp_path / "none.mp4").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".html"])
def test_second_video_in_one_output_is_an_error(tmp_path, suffix):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / f"x{suffix}") as write:
        write(Result(Frame(pixels, "a.mp4"), []))
        with pytest.raises(UserError, match="one video"):
            write(Result(Frame(pixels, "b.mp4"), []))


def page_data(path):
    """Return the text of a page, and the data in it."""
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_page_is_one_file_with_the_data_of_each_face(tmp_path):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(100):
            frame = Frame(pixels, "</script><b>x.mp4", k, k / 25, "default", "yunet")
            write(Result(frame, [make_face(0), *([make_face(7)] if k < 50 else [])]))
    text, data = page_data(tmp_path / "page.html")
    assert text.count("</script>") == 2  # those of the data and of the code, not of the name
    assert [face["id"] for face in data["faces"]] == [0, 7]
    assert data["faces"][0]["times"] == pytest.approx([k / 25 for k in range(100)])
    # Seven shares in ten-thousandths, each of which is rounded.
    assert all(sum(row) == pytest.approx(10_000, abs=4) for row in data["faces"][1]["shares"])
    assert data["labels"] == list(EMOTIONS)
    assert not re.findall(r'(?:src|href)="', text)  # the page needs no other file


def test_page_size_is_bounded(tmp_path, monkeypatch):
    from mien.visualization import timeline_data

    monkeypatch.setattr(timeline_data, "MAX_POINTS", 50)
    monkeypatch.setattr(timeline_data, "MAX_STILLS", 5)
    pixels = np.zeros((48, 64, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(3000):
            write(Result(Frame(pixels, "x.mp4", k, k / 10), [make_face()]))
    _, data = page_data(tmp_path / "page.html")
    (face,) = data["faces"]
    assert 20 <= len(face["times"]) <= 50
    assert face["times"][-1] > 290  # of 300 seconds
    first, last = face["present"]  # one interval, although most points were dropped
    assert first <= face["times"][0] < face["times"][-1] <= last
    assert len(data["stills"]) <= 5
