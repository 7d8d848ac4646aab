"""Read cameras and streams."""

import json
import socket
import sys
import time

import pytest

from mien.cli import _run_summary
from mien.errors import UserError
from mien.io import camera
from mien.io.clock import DEFAULT_FRAME_RATE
from mien.io.frame_selection import EARLY_TOLERANCE
from mien.io.source import Source

NO_SERVER = "127.0.0.1:9"
"""An address at which no server runs: the port of the obsolete discard protocol."""


def test_reading_a_live_source_stops_at_end_while_frames_arrive(server):
    frames = camera.frames(Source.parse(server.address), end=0.5)
    assert all(frame.seconds < 0.6 for frame in frames)


def test_live_source_without_frames_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mjpg"
        frames = camera.frames(Source.parse(address), started=time.monotonic(), end=0.5)
        with pytest.raises(UserError, match=r"within 0\.5 s"):
            next(frames)


def test_reading_a_live_source_stops_at_end_after_disconnecting(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (30.0,))
    frames = camera.frames(Source.parse(server.address), lambda _: None, end=1.5)
    next(frames)
    server.is_open = False
    server.http.shutdown()
    server.http.server_close()
    began = time.monotonic()
    assert all(frame.seconds < 1.5 for frame in frames)
    assert time.monotonic() - began < 10


def test_slow_consumer_gets_the_newest_frame(server):
    frames = camera.frames(Source.parse(server.address))
    first = next(frames)
    time.sleep(0.5)
    later = next(frames)
    assert first.seconds == 0
    assert later.number - first.number > 10
    assert later.seconds == pytest.approx(0.5, abs=0.4)
    assert first.pixels.shape == (48, 64, 3)
    frames.close()


def test_stream_reconnects(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.05,))
    errors = []
    frames = camera.frames(Source.parse(server.address), on_warning=errors.append)
    before = next(frames)
    server.is_open = False
    time.sleep(0.3)
    server.is_open = True
    deadline = time.monotonic() + 20
    after = next(frames)
    while not errors and time.monotonic() < deadline:
        after = next(frames)
    after = next(frames)
    assert "0.05 s" in str(errors[0])
    assert after.seconds > before.seconds
    frames.close()


def test_stream_that_cannot_be_opened_is_not_retried():
    errors = []
    with pytest.raises(UserError, match=f"{NO_SERVER}/none"):
        next(camera.frames(Source.parse(f"http://{NO_SERVER}/none"), errors.append))
    assert errors == []


def test_max_failures_limits_reconnecting(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.01,))
    errors = []
    frames = camera.frames(Source.parse(server.address), errors.append, max_failures=3)
    next(frames)
    server.is_open = False
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match=server.address):
        list(frames)
    assert len(errors) == 2  # after the third failure, the error is raised


def test_ctrl_c_ends_a_live_run_and_keeps_its_output(
    mien, server, tiny_model, tmp_path, monkeypatch
):
    add, out = _run_summary.RunSummary.add, tmp_path / "live.jsonl"

    def add_or_interrupt(summary, *arguments, **options):
        if summary.frames == 3:
            raise KeyboardInterrupt
        add(summary, *arguments, **options)

    monkeypatch.setattr(_run_summary.RunSummary, "add", add_or_interrupt)
    options = ("analyze", server.address, "--model", tiny_model, "--detector", "whole", "--to", out)
    code, _, err = mien(*options)
    assert (code, err) == (0, "")
    assert len(out.read_text().splitlines()) == 3


def test_missing_camera_is_an_error():
    with pytest.raises(UserError, match="camera 77"):
        next(camera.frames(Source.parse("camera:77")))


def test_camera_command_writes_the_analyzed_frames_and_a_summary(
    mien, server, tiny_model, tmp_path
):
    options = ("camera", server.address, "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*options, "--seconds", "1.5", "--to", tmp_path / "live.jsonl")
    assert (code, err) == (0, "")
    assert "ms delay" in out
    assert "1 face" in out
    records = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert len(records) > 3


def test_camera_command_rejects_files(mien, photo):
    code, _, err = mien("camera", photo)
    assert code == 2
    assert f"mien analyze {photo}" in err


def test_camera_command_rejects_two_outputs_with_the_same_path(mien, tmp_path):
    path = tmp_path / "live.jsonl"
    code, _, err = mien("camera", f"http://{NO_SERVER}/x", "--to", path, "--to", path)
    assert code == 2
    assert f"{path} is given for two outputs" in err


def test_camera_command_reports_a_missing_camera(mien):
    code, _, err = mien("camera", "camera:77")
    assert code == 2
    assert "camera 77" in err


def test_camera_without_opencv_names_the_extra_to_install(mien, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for options in (("camera", "--no-window"), ("analyze", "camera:0")):
        code, _, err = mien(*options, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert "OpenCV" in err
        assert "pip install '.[camera]'" in err


def test_until_and_every_apply_to_live_sources(mien, server, tiny_model, tmp_path):
    options = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "live.jsonl")
    assert mien("analyze", server.address, *options, "--until", "1", "--every", "0.4s")[0] == 0
    lines = (tmp_path / "live.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    early = EARLY_TOLERANCE / DEFAULT_FRAME_RATE  # a frame this early belongs to the next step
    steps = [int((time + early) / 0.4) for time in seconds]
    assert len(steps) >= 2  # of three; on a busy computer, a step may have no frame
    assert steps == sorted(set(steps))
    assert seconds[-1] <= 1


def test_error_of_a_stream_omits_its_password():
    with pytest.raises(UserError) as caught:
        next(camera.frames(Source.parse(f"http://me:s3cret@{NO_SERVER}/x.mjpg")))
    assert "s3cret" not in str(caught.value)


def test_two_pass_is_rejected_for_streams(mien, server):
    code, _, err = mien("analyze", server.address, "--two-pass")
    assert code == 2
    assert "--two-pass" in err
