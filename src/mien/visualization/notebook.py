"""Show results in notebooks: the annotated image and a table of emotions."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape

from PIL import Image

from mien.results import Face, Result
from mien.visualization.annotate import draw, enlarge
from mien.visualization.percent import percent

MAX_DISPLAY_SIDE = 1024
"""Maximum longer side of the image in pixels. This limits the size of the notebook's file, which
contains its images."""


def to_png(result: Result) -> bytes:
    """Return the annotated image as the bytes of a PNG file, resized for display."""
    return _encode(result, "PNG")


def to_html(result: Result) -> str:
    """Return the annotated image above a table with a row per face and a column per emotion."""
    data = base64.b64encode(_encode(result, "JPEG")).decode()
    image = f'<img src="data:image/jpeg;base64,{data}" alt="{escape(repr(result))}">'
    return f"<figure>{image}<figcaption>{escape(repr(result))}</figcaption></figure>" + (
        f"<table>{''.join(_rows(result))}</table>" if result else ""
    )


def _rows(result: Result) -> Iterator[str]:
    emotions = list(result[0].emotions)
    yield _row("th", ["face", "dominant emotion", *emotions, "flags"])
    for face in result:
        yield _row("td", _cells(face, emotions))


def _cells(face: Face, emotions: list[str]) -> list[str]:
    shares = [percent(face.emotions[name], 1) for name in emotions]
    return [str(face.face_id), face.dominant_emotion, *shares, ", ".join(face.flags)]


def _row(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _encode(result: Result, image_format: str) -> bytes:
    # Small images are enlarged, so that there is space for bars.
    image = Image.fromarray(draw(*enlarge(result.frame.pixels, result)))
    image.thumbnail((MAX_DISPLAY_SIDE, MAX_DISPLAY_SIDE))
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()
