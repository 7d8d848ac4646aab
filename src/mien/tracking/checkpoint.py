"""What an interrupted run left behind -> what is still to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mien.errors import UserError
from mien.io import partial_file
from mien.io.source import Source
from mien.results import Face
from mien.tracking.schedule import DetectionSchedule
from mien.tracking.tracker import PATIENCE, Past

REMEMBERED, LEAST = 2 * PATIENCE, 8
"""Seconds before the end of which faces, looks and smoothing are taken up again, and so many frames
at least."""


@dataclass(slots=True)
class Left:
    """done: sources that need no work. video: the one it was in the middle of, with its past."""

    done: set[str] = field(default_factory=set)
    video: str = ""
    past: Past | None = None


def read(paths: Sequence[Path], sources: Mapping[str, Source]) -> Left:
    """What the run that wrote to these paths has done; the picture it was at is done again.

    sources: what is to be read now, by name. Raises `UserError` where only some of the paths have
    something to go on from, and for a run that read something else.
    """
    left, last, began, unused = Left(), "", 0, 0
    looks = DetectionSchedule()
    started = 0.0
    recent: deque[tuple[dict, bool]] = deque()
    for place, record in enumerate(partial_file.earlier(paths)):
        if record["source"] != last:
            left.done.add(last)
            last, began, unused, looks = record["source"], place, 0, DetectionSchedule()
            recent.clear()
            started = record["seconds"]
        seconds = record["seconds"]
        recent.append((record, looks.due(seconds, record["width"], record["height"])))
        while len(recent) > LEAST and seconds - recent[0][0]["seconds"] > REMEMBERED:
            recent.popleft()
        unused = max(unused, *(face["face_id"] + 1 for face in record["faces"]), 0)
    left.done.discard("")
    if others := sorted({*left.done, *filter(None, [last])} - {*sources}):
        raise UserError(f"What was stopped was reading {others[0]}; --resume with the same inputs.")
    if last and sources[last].is_video:
        left.video = last
        left.past = Past(
            {record["frame"]: list(map(Face.from_dict, record["faces"])) for record, _ in recent},
            {record["frame"] for record, due in recent if due},
            started,
            recent[0][0]["seconds"],
            unused,
        )
    elif last:
        partial_file.cut(paths, began)
    return left
