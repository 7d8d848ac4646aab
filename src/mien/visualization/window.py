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

MAX_IMAGE_SIZE = (1280, 720)
"""Maximum width and height of the displayed image in pixels; larger frames are downscaled."""


def is_available() -> bool:
    """Return whether there is a display on which tkinter can open a window."""
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
    """Open a window; yield a function that shows a result and its delay in seconds.

    After the user has pressed Escape or q or closed the window, the function raises
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
        image.thumbnail(MAX_IMAGE_SIZE)
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
