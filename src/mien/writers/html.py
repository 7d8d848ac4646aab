"""Write an interactive timeline of the faces in a video as one HTML file."""

from __future__ import annotations

import base64
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from mien.labels import COLORS, EMOTIONS_AND_CONTEMPT
from mien.printable import printable
from mien.results import ResultWriter
from mien.visualization.timeline import (
    INTERPOLATED_OPACITY,
    MIN_VISIBLE_PIXELS,
    SHOTS_NOTE,
    TICK_INTERVALS,
    legend_notes,
)
from mien.visualization.timeline_data import MAX_PAGE_FACES, Series, Timeline, timeline_writer

IS_SINGLE_SOURCE = True

MARKUP, STYLE, SCRIPT = (
    Path(__file__).with_name(f"_page.{suffix}").read_text("utf-8")
    for suffix in ("html", "css", "js")
)


def open_writer(path: Path) -> AbstractContextManager[ResultWriter]:
    """Open a writer for the timeline of one video as an `.html` file.

    Raises:
        UserError: If a frame of a second source is written, or the file cannot be written.
    """

    def write_page(timeline: Timeline, temporary: Path) -> None:
        temporary.write_text(render(timeline, path), encoding="utf-8")

    return timeline_writer(path, write_page)


def render(timeline: Timeline, path: Path) -> str:
    """Render a timeline as HTML.

    Args:
        timeline: The timeline.
        path: Path of the HTML file, to which the link to the video is relative.
    """
    summaries = timeline.summaries.records()
    indices = timeline.emotion_indices()
    has_faces = bool(summaries)
    notes = legend_notes(smoothed=timeline.smoothed, interpolated=has_faces)
    if timeline.marked_shots():
        notes = [*notes, SHOTS_NOTE]
    data = {
        "name": printable(Path(timeline.source).name or timeline.source),
        "video": _relative_link(timeline.location, path),
        "model": printable(timeline.model),
        "frames": timeline.frames,
        "start": timeline.start,
        "end": timeline.end,
        "step": timeline.typical_interval(),
        "shots": timeline.marked_shots(),
        "ticks": TICK_INTERVALS,
        "notes": notes,
        "interpolated_opacity": INTERPOLATED_OPACITY,
        "min_visible_pixels": MIN_VISIBLE_PIXELS,
        "labels": [EMOTIONS_AND_CONTEMPT[k] for k in indices],
        "colors": COLORS,
        "stills": [(round(seconds, 3), _data_url(jpeg)) for seconds, jpeg in timeline.stills],
        "face_count": len(summaries) + timeline.dropped_faces,
        "faces": [
            _face(timeline, timeline.series[summary["face_id"]], summary, indices)
            for summary in summaries[:MAX_PAGE_FACES]
        ],
    }
    # A file name must not close the script element.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    html = MARKUP.replace("/* _page.css */", STYLE).replace("// _page.js\n", SCRIPT)
    return html.replace('{"placeholder": true}', text)


def _face(timeline: Timeline, series: Series, summary: dict, indices: list[int]) -> dict:
    return {
        "id": summary["face_id"],
        "portrait": _data_url(series.portrait),
        "seconds_on_screen": summary["on_screen"],
        "mean_shares": [summary["mean_shares"].get(EMOTIONS_AND_CONTEMPT[k], 0.0) for k in indices],
        "present": timeline.present_intervals(series).tolist(),
        "interpolated": timeline.interpolated_intervals(series).tolist(),
        "times": series.times,
        "shares": [[row[k] for k in indices] for row in series.shares],
        "boxes": series.boxes,
    }


def _relative_link(location: str, path: Path) -> str:
    """Return a relative link from the HTML file to the video; empty if the source is not a file."""
    if not Path(location).is_file():
        return ""
    try:
        relative = os.path.relpath(Path(location).resolve(), path.resolve().parent)
    except ValueError:  # the files are on different drives
        return ""
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode() if jpeg else ""
