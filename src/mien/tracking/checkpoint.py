"""Checkpoints: find out from the records of an interrupted run where to resume it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from mien.errors import UserError
from mien.io import partial_file
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Face, Frame
from mien.tracking.schedule import DetectionSchedule
from mien.tracking.session import VideoSession

REPLAY_SECONDS, MIN_REPLAY_FRAMES = 4.0, 8
"""Before the rest of a video is analyzed, the frames of the last `REPLAY_SECONDS` of the analyzed
part are replayed, but at least `MIN_REPLAY_FRAMES` frames: trackers and detectors of dissolves
hardly depend on earlier ones."""

START_TOLERANCE_SECONDS = 1.0
"""The first analyzed frame is at most this many seconds plus `FrameSelection.seconds` from the
requested start: in a video with few frames per second, there may be no frame at the start."""


@dataclass(frozen=True, slots=True)
class UnfinishedVideo:
    """The video in which a run was interrupted, with its last analyzed frames.

    Attributes:
        name: Name of the source.
        faces: Faces of the last frames, by frame number.
        detected: Numbers of the frames in which faces were detected instead of interpolated.
        shots: Number of the shot, by frame number.
        start: Time of the first frame of this video that the run analyzed, in seconds.
        replay_start: Time of the first frame in `faces` in seconds.
        next_id: The first unused face id.
    """

    name: str
    faces: Mapping[int, Sequence[Face]]
    detected: Set[int]
    shots: Mapping[int, int]
    start: float
    replay_start: float
    next_id: int

    def selection(self, requested: FrameSelection, first: float = 0.0) -> FrameSelection:
        """Return the selection that reads the video from the first replayed frame on.

        Args:
            requested: The selection of the whole run.
            first: Time of the first frame of the video in seconds.

        Raises:
            UserError: If the interrupted run started at another time.
        """
        tolerance = START_TOLERANCE_SECONDS + requested.seconds
        if abs(self.start - max(requested.start, first)) > tolerance:
            raise UserError(
                f"Cannot resume {self.name}: the interrupted run started at {self.start:.1f} s. "
                "Use --resume with the same --from."
            )
        return requested.starting_at(min(self.faces), self.replay_start)

    def replay(self, session: VideoSession, frames: Iterator[Frame]) -> None:
        """Restore the state of a session at the interruption by replaying the last frames.

        Args:
            session: A new session.
            frames: The frames of `selection(...)`. The replayed ones are consumed; the next one is
                the first that has not been analyzed.

        Raises:
            UserError: If the video, the selection of its frames or the smoothing has changed.
        """
        session.reserve_ids(self.next_id)
        for frame in islice(frames, len(self.faces)):
            if (faces := self.faces.get(frame.number)) is None:
                raise UserError(
                    f"Cannot resume {frame.source}: this is another video, or another part of it. "
                    "Use --resume with the same command."
                )
            frame = replace(frame, shot=self.shots.get(frame.number))
            if not session.replay(frame, faces, detected=frame.number in self.detected):
                raise UserError(
                    f"Cannot resume {frame.source}: the interrupted run had other options. "
                    "Use --resume with the same --every and --smooth."
                )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The completed part of an interrupted run.

    Attributes:
        done: Names of the completed sources.
        unfinished: The video in which the run was interrupted; None if it was an image, or if there
            are no records.
    """

    done: Set[str] = frozenset()
    unfinished: UnfinishedVideo | None = None

    def unfinished_video_for(self, source: Source) -> UnfinishedVideo | None:
        """Return the unfinished video if it is this source, otherwise None."""
        is_unfinished = self.unfinished is not None and self.unfinished.name == source.name
        return self.unfinished if is_unfinished else None


@dataclass(slots=True)
class _LastSource:
    """The source in which the run was interrupted, with its last frames.

    Attributes:
        name: Name of the source.
        first_record: Index of its first record.
        start: Time of its first frame in seconds.
        next_id: The first unused face id.
        shot: Number of the shot of its last frame.
        schedule: Schedule that tells in which frames faces were detected.
        last_records: Its last records, each with whether faces were detected in that frame.
    """

    name: str = ""
    first_record: int = 0
    start: float = 0.0
    next_id: int = 0
    shot: int = 0
    schedule: DetectionSchedule = field(default_factory=DetectionSchedule)
    last_records: deque[tuple[dict, bool]] = field(default_factory=deque)

    def add(self, record: dict) -> None:
        records, seconds = self.last_records, record["seconds"]
        if (shot := record.get("shot", 0)) != self.shot:
            self.shot = shot
            self.schedule.reset()
        detected = self.schedule.is_due(seconds, record["width"], record["height"])
        records.append((record, detected))
        while (
            len(records) > MIN_REPLAY_FRAMES and seconds - records[0][0]["seconds"] > REPLAY_SECONDS
        ):
            records.popleft()
        self.next_id = max([self.next_id, *(face["face_id"] + 1 for face in record["faces"])])

    def unfinished_video(self) -> UnfinishedVideo:
        first_record, _ = self.last_records[0]
        return UnfinishedVideo(
            name=self.name,
            faces={
                record["frame"]: [Face.from_dict(face) for face in record["faces"]]
                for record, _ in self.last_records
            },
            detected={record["frame"] for record, detected in self.last_records if detected},
            shots={record["frame"]: record.get("shot", 0) for record, _ in self.last_records},
            start=self.start,
            replay_start=first_record["seconds"],
            next_id=self.next_id,
        )


def prepare_resume(paths: Sequence[Path], sources: Mapping[str, Source]) -> Checkpoint:
    """Read where to resume an interrupted run, and make its outputs consistent.

    Records that only some of the outputs have are removed. If the last source is an image, its
    records are removed too: they may be incomplete, so it is analyzed again.

    Args:
        paths: All outputs of the interrupted run.
        sources: The sources of the new run, by name.

    Returns:
        The completed part; empty if there are no records.

    Raises:
        UserError: If another run is writing to one of the outputs, or the interrupted run had
            sources that are not in `sources`.
    """
    done, last = set[str](), _LastSource()
    for index, record in enumerate(partial_file.synchronize_and_read(paths)):
        if record["source"] != last.name:
            if last.name:
                done.add(last.name)
            last = _LastSource(record["source"], index, record["seconds"])
        last.add(record)
    if not last.name:
        return Checkpoint()
    if others := sorted({*done, last.name} - set(sources)):
        raise UserError(
            f"Cannot resume: the interrupted run also read {others[0]}. "
            "Use --resume with the same inputs."
        )
    if sources[last.name].is_video:
        return Checkpoint(done, last.unfinished_video())
    partial_file.truncate(paths, last.first_record)
    return Checkpoint(done)
