"""A window that shows annotated frames live, on systems with a display."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from mien.results import Result
from mien.visualization.annotate import Annotator, enlarge
from mien.visualization.text import LiveStatus

MAX_SIZE = (1280, 720)
"""Width and height in pixels; larger frames are shown smaller."""


def is_available() -> bool:
    """Whether there is a display and tkinter can open a window on it."""
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
    """Open a window; yields a function that shows a result and its delay in seconds.

    After Escape, q or closing the window, the next call of that function raises
    `KeyboardInterrupt`.
    """
    import tkinter

    from PIL import ImageTk

    window, status, is_closed = tkinter.Tk(className="mien"), LiveStatus(), False
    annotate = Annotator()

    def close(_: object = None) -> None:
        nonlocal is_closed
        is_closed = True

    window.title("mien")
    window.protocol("WM_DELETE_WINDOW", close)
    for key in ("<Escape>", "q"):
        window.bind(key, close)
    image_label = tkinter.Label(window, background="black")
    image_label.pack()
    status_label = tkinter.Label(window, anchor="w")
    status_label.pack(fill="x")

    def show(result: Result, delay: float) -> None:
        image = Image.fromarray(annotate(*enlarge(result.frame.pixels, result)))
        image.thumbnail(MAX_SIZE)
        photo: Any = ImageTk.PhotoImage(image)
        image_label.configure(image=photo)
        image_label.image = photo  # type: ignore[attr-defined]  # Tk does not keep a reference
        status_label.configure(text=f"{status(result.frame.seconds, delay)}; press Esc to quit")
        window.update()
        if is_closed:
            raise KeyboardInterrupt

    try:
        yield show
    finally:
        window.destroy()
