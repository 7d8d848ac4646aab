"""The live window, on a virtual display."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import ImageColor, ImageGrab

from mien.labels import COLORS
from mien.results import Face, Frame, Result
from mien.visualization import window

pytest.importorskip("tkinter")

FACE = Face((20.0, 10.0, 60.0, 60.0), 0.9, {"happy": 0.75, "sad": 0.25}, 0, (),
            {"happy": 0.5, "sad": 0.5})  # fmt: skip


@pytest.fixture(scope="module")
def display():
    """The name of a virtual display, such as `:99`."""
    if not shutil.which("Xvfb"):
        pytest.skip("no Xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1000x700x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as file:
        number = file.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def test_without_a_display_the_window_is_not_available(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    if sys.platform.startswith("linux"):
        assert not window.is_available()


def test_an_unreachable_display_is_not_available(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":987")
    assert not window.is_available()


def test_the_window_shows_annotated_frames(display, monkeypatch):
    monkeypatch.setenv("DISPLAY", display)
    assert window.is_available()
    pixels = np.full((480, 640, 3), (0, 90, 200), np.uint8)
    with window.live_view() as show:
        for k in range(5):
            show(Result(Frame(pixels, "camera:0", k, k / 10), [FACE]), 0.012)
        time.sleep(0.2)  # the display draws the window
        show(Result(Frame(pixels, "camera:0", 5, 0.5), [FACE]), 0.012)
        grabbed = np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB"))
    blue = (abs(grabbed.astype(int) - (0, 90, 200)) < 8).all(2)
    assert blue.sum() > 100_000  # of the 640 x 480 pixels of the frame
    yellow = (abs(grabbed.astype(int) - ImageColor.getrgb(COLORS["happy"])) < 8).all(2)
    assert yellow.sum() > 50  # the box and a bar


@pytest.mark.parametrize("action", ["key", "close"])
def test_the_window_can_be_closed(display, monkeypatch, action):
    import tkinter

    monkeypatch.setenv("DISPLAY", display)
    pixels = np.zeros((90, 160, 3), np.uint8)

    def run():
        with window.live_view() as show:
            root = tkinter._default_root
            for k in range(50):
                if k == 5 and action == "key":
                    root.focus_force()
                    root.update()
                    root.event_generate("<Escape>")
                elif k == 5:
                    root.tk.call(root.protocol("WM_DELETE_WINDOW"))
                show(Result(Frame(pixels, "camera:0", k, k / 10), []), 0.0)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert tkinter._default_root is None  # the window is destroyed


def test_the_window_option_without_a_display_is_an_error(mien, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    code, _, err = mien("camera", "http://127.0.0.1:9/x", "--window")
    if sys.platform.startswith("linux"):
        assert code == 2
        assert "display" in err
