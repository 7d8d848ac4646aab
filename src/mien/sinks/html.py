"""A page on which a person can see what each face of a video showed, and when. One file."""

from __future__ import annotations

import base64
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from mien.journal import Write
from mien.labels import COLOURS, EMOTIONS_AND_CONTEMPT
from mien.story import MOST_FACES, Story, gathered

TEMPLATE = Path(__file__).with_name("_page.html")


def to(path: Path) -> AbstractContextManager[Write]:
    """Write the frames of one video as an `.html` page; a `UserError` for a second source."""

    def finish(story: Story, temporary: Path) -> None:
        temporary.write_text(page(story, path), encoding="utf-8")

    return gathered(path, finish)


def page(story: Story, path: Path) -> str:
    """The story as HTML; `path` is where it will lie, for the way from there to the video."""
    summaries = story.summaries.records()[:MOST_FACES]
    known = story.known()
    steps = [np.diff(line.times).min() for line in story.lines.values() if len(line.times) > 1]
    told = {
        "name": Path(story.source).name or story.source,
        "video": _relative(story.source, path),
        "model": story.model,
        "frames": story.frames,
        "start": story.start,
        "end": story.end,
        "step": float(min(steps, default=0.04)),
        "gap": story.gap(),
        "labels": [EMOTIONS_AND_CONTEMPT[k] for k in known],
        "colours": COLOURS,
        "stills": [(round(s, 3), _inline(body)) for s, body in story.stills],
        "faces": [
            {
                "id": one["face_id"],
                "picture": _inline(story.lines[one["face_id"]].portrait),
                "on_screen": one["on_screen"],
                "emotions": one["emotions"],
                "times": [round(s, 3) for s in story.lines[one["face_id"]].times],
                "shares": [[row[k] for k in known] for row in story.lines[one["face_id"]].shares],
            }
            for one in summaries
        ],
    }
    # A name may not end the script it stands in.
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace('{"nothing": "yet"}', text)


def _relative(source: str, path: Path) -> str:
    """The way from the page to the video, as an address; nothing for what is not a file."""
    if not Path(source).is_file():
        return ""
    try:
        way = os.path.relpath(Path(source).resolve(), path.resolve().parent)
    except ValueError:  # another drive
        return ""
    return quote(way.replace(os.sep, "/"))


def _inline(body: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(body).decode() if body else ""
