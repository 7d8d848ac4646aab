"""What an interrupted run left behind -> what is still to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mien.errors import UserError
from mien.io import partial_file
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Face, Frame
from mien.tracking.schedule import DetectionSchedule
from mien.tracking.session import VideoSession
from mien.tracking.tracker import MAX_AGE_SECONDS

REPLAYED, LEAST = 2 * MAX_AGE_SECONDS, 8
"""Seconds of a video that are replayed before its rest is analyzed, and frames at least."""


@dataclass(frozen=True, slots=True)
class UnfinishedVideo:
    """The video in which a run was interrupted, and its last frames, to go on from.

    name: of its source. faces: of the last frames, by frame number. detected: the numbers of those
    in which faces were detected. start: seconds of the first frame of all, and first: of the
    earliest of these. next_id: the first face id that is free.
    """

    name: str
    faces: Mapping[int, Sequence[Face]]
    detected: Set[int]
    start: float
    first: float
    next_id: int

    def selection(self, wanted: FrameSelection) -> FrameSelection:
        """The part of the video to read again; a `UserError` if another was read before."""
        if abs(self.start - wanted.start) > 1 + wanted.seconds:
            raise UserError(f"What was found of {self.name} begins at {self.start:.1f} s; "
                            "--resume with the same --from.")  # fmt: skip
        return wanted.starting_at(min(self.faces), self.first)

    def replay(self, session: VideoSession, frames: Iterable[Frame]) -> None:
        """Bring a new session to where the run was interrupted, by the frames that are known.

        Raises:
            UserError: if they are of another video, or were read or smoothed in another way.
        """
        session.reserve_ids(self.next_id)
        for frame in islice(frames, len(self.faces)):
            if (faces := self.faces.get(frame.number)) is None:
                raise UserError(
                    f"{frame.source} is not the video that was being read, or not the same part "
                    "of it; --resume goes on with the same command."
                )
            if not session.replay(frame, faces, detected=frame.number in self.detected):
                raise UserError(
                    f"{frame.source} was read or smoothed otherwise; --resume with the same "
                    "--every and --smooth."
                )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an earlier run has done.

    done: the names of sources that need no work. unfinished: a video of which the rest is to do.
    """

    done: Set[str] = frozenset()
    unfinished: UnfinishedVideo | None = None

    def unfinished_video_for(self, source: Source) -> UnfinishedVideo | None:
        """What is known of this source, if it is the unfinished one."""
        is_it = self.unfinished is not None and self.unfinished.name == source.name
        return self.unfinished if is_it else None


@dataclass(slots=True)
class _Tail:
    """The last frames of the source that a run was at."""

    source: str = ""
    began: int = 0
    start: float = 0.0
    next_id: int = 0
    schedule: DetectionSchedule = field(default_factory=DetectionSchedule)
    recent: deque[tuple[dict, bool]] = field(default_factory=deque)

    def add(self, record: dict) -> None:
        seconds = record["seconds"]
        detected = self.schedule.is_due(seconds, record["width"], record["height"])
        self.recent.append((record, detected))
        while len(self.recent) > LEAST and seconds - self.recent[0][0]["seconds"] > REPLAYED:
            self.recent.popleft()
        self.next_id = max(self.next_id, *(face["face_id"] + 1 for face in record["faces"]), 0)

    def unfinished(self) -> UnfinishedVideo:
        return UnfinishedVideo(
            self.source,
            {
                record["frame"]: [Face.from_dict(face) for face in record["faces"]]
                for record, _ in self.recent
            },
            {record["frame"] for record, detected in self.recent if detected},
            self.start,
            self.recent[0][0]["seconds"],
            self.next_id,
        )


def read(paths: Sequence[Path], sources: Mapping[str, Source]) -> Checkpoint:
    """What the run that wrote to these paths has done; the picture it was at is done again.

    Args:
        paths: the outputs that the run wrote, all of them.
        sources: what is to be read now, by name.

    Raises:
        UserError: if only some of the paths have something to go on from, or the run read
            something else.
    """
    done, tail = set[str](), _Tail()
    for place, record in enumerate(partial_file.read_common_records(paths)):
        if record["source"] != tail.source:
            done.add(tail.source)
            tail = _Tail(record["source"], place, record["seconds"])
        tail.add(record)
    if not tail.source:
        return Checkpoint()
    if others := sorted({*done, tail.source} - {"", *sources}):
        raise UserError(f"What was stopped was reading {others[0]}; --resume with the same inputs.")
    if sources[tail.source].is_video:
        return Checkpoint(done, tail.unfinished())
    partial_file.truncate(paths, tail.began)
    return Checkpoint(done)
