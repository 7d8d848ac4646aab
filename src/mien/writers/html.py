"""A page on which a person can see what each face of a video showed, and when. One file."""

from __future__ import annotations

import base64
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from mien.labels import COLORS, EMOTIONS_AND_CONTEMPT
from mien.results import Write
from mien.visualization.timeline import FADED, FEWEST, NOTES, TICKS
from mien.visualization.timeline_data import MAX_FACES, Line, Timeline, gathered

SINGLE_SOURCE = True

MARKUP, STYLE, SCRIPT = (
    Path(__file__).with_name(f"_page.{suffix}").read_text("utf-8")
    for suffix in ("html", "css", "js")
)


def open_writer(path: Path) -> AbstractContextManager[Write]:
    """Write the frames of one video as an `.html` page; a `UserError` for a second source."""

    def finish(story: Timeline, temporary: Path) -> None:
        temporary.write_text(page(story, path), encoding="utf-8")

    return gathered(path, finish)


def page(story: Timeline, path: Path) -> str:
    """The story as HTML; `path` is where it will lie, for the way from there to the video."""
    summaries = story.summaries.records()
    known = story.known()
    told = {
        "name": Path(story.source).name or story.source,
        "video": _relative(story.location, path),
        "model": story.model,
        "frames": story.frames,
        "start": story.start,
        "end": story.end,
        "step": story.step(),
        "ticks": TICKS,
        "notes": [NOTES["smoothed"]] * story.smoothed + [NOTES["pale"]] * bool(summaries),
        "faded": FADED,
        "fewest": FEWEST,
        "labels": [EMOTIONS_AND_CONTEMPT[k] for k in known],
        "colours": COLORS,
        "stills": [(round(s, 3), _inline(body)) for s, body in story.stills],
        "found": len(summaries) + story.forgotten,
        "faces": [
            _face(story, story.lines[one["face_id"]], one, known) for one in summaries[:MAX_FACES]
        ],
    }
    # A name may not end the script it stands in.
    text = json.dumps(told, separators=(",", ":")).replace("<", "\\u003c")
    page = MARKUP.replace("/* _page.css */", STYLE).replace("// _page.js\n", SCRIPT)
    return page.replace('{"nothing": "yet"}', text)


def _face(story: Timeline, line: Line, summary: dict, known: list[int]) -> dict:
    return {
        "id": summary["face_id"],
        "picture": _inline(line.portrait),
        "on_screen": summary["on_screen"],
        "often": [line.often[k] for k in known],
        "visible": story.visible(line).tolist(),
        "interpolated": story.interpolated(line).tolist(),
        "times": line.times,
        "shares": [[row[k] for k in known] for row in line.shares],
        "boxes": line.boxes,
    }


def _relative(location: str, path: Path) -> str:
    """The way from the page to the video, as an address; nothing for what is not a file."""
    if not Path(location).is_file():
        return ""
    try:
        way = os.path.relpath(Path(location).resolve(), path.resolve().parent)
    except ValueError:  # another drive
        return ""
    return quote(os.fsencode(way.replace(os.sep, "/")))


def _inline(body: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(body).decode() if body else ""
