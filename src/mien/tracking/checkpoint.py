"""Checkpoints: from the records of an interrupted run to what remains to be done."""

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
from mien.tracking.frame_interval import MAX_AGE_SECONDS
from mien.tracking.schedule import DetectionSchedule
from mien.tracking.session import VideoSession

REPLAY_SECONDS, MIN_REPLAY_FRAMES = 2 * MAX_AGE_SECONDS, 8
"""The end of the analyzed part that is replayed before the rest of a video is analyzed."""


@dataclass(frozen=True, slots=True)
class UnfinishedVideo:
    """The video in which a run was interrupted, with its last analyzed frames.

    name: of the source. faces: of the last frames, by frame number. detected: numbers of the frames
    in which faces were detected, not interpolated. start: seconds of the very first frame.
    replay_start: seconds of the first frame in `faces`. next_id: the first unused face id.
    """

    name: str
    faces: Mapping[int, Sequence[Face]]
    detected: Set[int]
    start: float
    replay_start: float
    next_id: int

    def selection(self, requested: FrameSelection, first: float = 0.0) -> FrameSelection:
        """The selection that reads the video from the first frame to replay.

        Args:
            requested: The selection of the whole run.
            first: Seconds of the first frame of the video.

        Raises:
            UserError: If the earlier run started at another time.
        """
        if abs(self.start - max(requested.start, first)) > 1 + requested.seconds:
            raise UserError(
                f"Cannot resume {self.name}: the earlier run started at {self.start:.1f} s. "
                "Use --resume with the same --from."
            )
        return requested.starting_at(min(self.faces), self.replay_start)

    def replay(self, session: VideoSession, frames: Iterable[Frame]) -> None:
        """Bring a new session to the state at the interruption, by replaying the last frames.

        Raises:
            UserError: If the video, its selection of frames or the smoothing is not the same.
        """
        session.reserve_ids(self.next_id)
        for frame in islice(frames, len(self.faces)):
            if (faces := self.faces.get(frame.number)) is None:
                raise UserError(
                    f"Cannot resume {frame.source}: this is another video, or another part of it. "
                    "Use --resume with the same command."
                )
            if not session.replay(frame, faces, detected=frame.number in self.detected):
                raise UserError(
                    f"Cannot resume {frame.source}: the earlier run had other options. "
                    "Use --resume with the same --every and --smooth."
                )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an earlier run has completed.

    done: names of the completed sources. unfinished: the video in which the run was interrupted.
    """

    done: Set[str] = frozenset()
    unfinished: UnfinishedVideo | None = None

    def unfinished_video_for(self, source: Source) -> UnfinishedVideo | None:
        """The unfinished video, if it is this source."""
        is_unfinished = self.unfinished is not None and self.unfinished.name == source.name
        return self.unfinished if is_unfinished else None


@dataclass(slots=True)
class _LastSource:
    """The source in which the run was interrupted: its last frames.

    first_record: index of its first record. last_records: with whether faces were detected.
    """

    name: str = ""
    first_record: int = 0
    start: float = 0.0
    next_id: int = 0
    schedule: DetectionSchedule = field(default_factory=DetectionSchedule)
    last_records: deque[tuple[dict, bool]] = field(default_factory=deque)

    def add(self, record: dict) -> None:
        records, seconds = self.last_records, record["seconds"]
        detected = self.schedule.is_due(seconds, record["width"], record["height"])
        records.append((record, detected))
        while (
            len(records) > MIN_REPLAY_FRAMES and seconds - records[0][0]["seconds"] > REPLAY_SECONDS
        ):
            records.popleft()
        self.next_id = max(self.next_id, *(face["face_id"] + 1 for face in record["faces"]), 0)

    def unfinished_video(self) -> UnfinishedVideo:
        return UnfinishedVideo(
            self.name,
            {
                record["frame"]: [Face.from_dict(face) for face in record["faces"]]
                for record, _ in self.last_records
            },
            {record["frame"] for record, detected in self.last_records if detected},
            self.start,
            self.last_records[0][0]["seconds"],
            self.next_id,
        )


def read(paths: Sequence[Path], sources: Mapping[str, Source]) -> Checkpoint:
    """Read the checkpoint of an interrupted run; an image in progress is analyzed again.

    Args:
        paths: All outputs of the run.
        sources: The sources to read now, by name.

    Raises:
        UserError: If only some of the paths have records, or the run had other sources.
    """
    done, last = set[str](), _LastSource()
    for index, record in enumerate(partial_file.read_common_records(paths)):
        if record["source"] != last.name:
            done.add(last.name)
            last = _LastSource(record["source"], index, record["seconds"])
        last.add(record)
    if not last.name:
        return Checkpoint()
    if others := sorted({*done, last.name} - {"", *sources}):
        raise UserError(
            f"Cannot resume: the earlier run also read {others[0]}. "
            "Use --resume with the same inputs."
        )
    if sources[last.name].is_video:
        return Checkpoint(done, last.unfinished_video())
    partial_file.truncate(paths, last.first_record)
    return Checkpoint(done)
