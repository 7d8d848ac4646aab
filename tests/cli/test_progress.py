"""Progress bars of `mien analyze`."""

import av
import numpy as np
import pytest

from mien.cli._progress import selected_seconds
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from tests.io.video_files import write_video

PIXELS = [np.zeros((48, 64, 3), np.uint8)] * 100  # 4 seconds


@pytest.mark.parametrize(
    ("selection", "expected"),
    [({}, 4), ({"start": 1}, 3), ({"start": 1, "end": 3}, 2), ({"end": 60}, 4), ({"start": 9}, 1)],
)
def test_the_selected_part_has_its_length_but_at_least_a_second(tmp_path, selection, expected):
    write_video(tmp_path / "clip.mp4", PIXELS)
    source = Source.parse(str(tmp_path / "clip.mp4"))
    assert selected_seconds(source, FrameSelection(**selection)) == expected


def test_a_file_that_does_not_state_its_length_has_none(tmp_path):
    with av.open(str(tmp_path / "clip.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48)
        stream.pix_fmt = "yuv420p"
        for pixels in PIXELS:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    source = Source("video", str(tmp_path / "clip.h264"), "clip.h264")
    assert selected_seconds(source, FrameSelection()) is None
    assert selected_seconds(source, FrameSelection(end=3)) == 3
