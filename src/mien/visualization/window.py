"""A window that shows faces live, where there is a display to show it on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from mien.results import Result
from mien.visualization.annotate import Annotator
from mien.visualization.text import Pace

LARGEST = (1280, 720)
"""Pixels at most; a larger picture is shown smaller."""


def is_available() -> bool:
    """Whether there is a display and the means to draw on it."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return False
    try:
        import tkinter

        from PIL import ImageTk  # noqa: F401
    except ImportError:
        return False
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError:
        return False
    return True


@contextmanager
def live_view() -> Iterator[Callable[[Result, float], None]]:
    """A view that is drawn again with each frame: told the result and seconds of delay.

    Escape, q or closing the window ends it: the next call raises `KeyboardInterrupt`.
    """
    import tkinter

    from PIL import ImageTk

    window, pace, closed = tkinter.Tk(className="mien"), Pace(), False
    paint = Annotator()

    def close(_: object = None) -> None:
        nonlocal closed
        closed = True

    window.title("mien")
    window.protocol("WM_DELETE_WINDOW", close)
    for key in ("<Escape>", "q"):
        window.bind(key, close)
    picture = tkinter.Label(window, background="black")
    picture.pack()
    line = tkinter.Label(window, anchor="w")
    line.pack(fill="x")

    def show(result: Result, delay: float) -> None:
        image = Image.fromarray(paint(result.frame.pixels, result))
        image.thumbnail(LARGEST)
        photo: Any = ImageTk.PhotoImage(image)
        picture.configure(image=photo)
        picture.image = photo  # type: ignore[attr-defined]  # Tk keeps no reference of its own
        line.configure(text=f"{pace(result.frame.seconds, delay)}; Esc ends it")
        window.update()
        if closed:
            raise KeyboardInterrupt

    try:
        yield show
    finally:
        window.destroy()
