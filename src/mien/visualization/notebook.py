"""A result as a notebook shows it: the annotated picture and a table of emotions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape

from mien.results import Face, Result

MAX_SIDE = 1024
"""Pixels of the picture's longer side; a notebook keeps every picture in its file."""


def png(result: Result) -> bytes:
    """The annotated picture, shrunk to at most `MAX_SIDE` pixels, as the bytes of a PNG file."""
    return _encoded(result, "PNG")


def html(result: Result) -> str:
    """The annotated picture over a table with a row per face and a column per emotion."""
    picture = base64.b64encode(_encoded(result, "JPEG")).decode()
    image = f'<img src="data:image/jpeg;base64,{picture}" alt="{escape(repr(result))}">'
    return f"<figure>{image}<figcaption>{escape(repr(result))}</figcaption></figure>" + (
        f"<table>{''.join(_rows(result))}</table>" if result else ""
    )


def _rows(result: Result) -> Iterator[str]:
    emotions = list(result[0].emotions)
    yield _row("th", ["face", "dominant emotion", *emotions, "flags"])
    for face in result:
        yield _row("td", _cells(face, emotions))


def _cells(face: Face, emotions: list[str]) -> list[str]:
    shares = [f"{face.emotions[name]:.1%}" for name in emotions]
    return [str(face.face_id), face.dominant_emotion, *shares, ", ".join(face.flags)]


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _encoded(result: Result, form: str) -> bytes:
    image = result.plot()
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()
