"""The options of `mien analyze`, checked before anything is read or written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien import writers
from mien.errors import UserError
from mien.io import atomic_file, partial_file
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.pipeline import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalyzeOptions:
    """The options of `mien analyze`, by the names and in the form in which click gives them."""

    inputs: tuple[str, ...]
    to: tuple[Path, ...]
    as_json: bool
    detector: str
    threads: int
    every: str
    start: str
    until: str
    smooth: float
    two_pass: bool
    summary: Path | None
    timeline: Path | None
    resume: bool
    contempt: bool
    strict: bool

    def pipeline(self) -> Options:
        """What of them is about reading; a `UserError` for values that are none."""
        return Options(
            selection=frame_selection(self.every, self.start, self.until),
            smoothing=smoothing(self.smooth),
            two_pass=self.two_pass,
        )

    def check(self, sources: Sequence[Source], *, all_there: bool = True) -> None:
        """Raise `UserError` for what cannot be had of these sources, or would destroy one of them.

        all_there: whether these are all that were named, or some could not be read.
        """
        if self.resume:
            self._check_resume()
        if all_there and not any(source.is_video for source in sources):
            self._check_stills()
        if self.two_pass and (live := [source for source in sources if source.is_live]):
            raise UserError(f"--two-pass reads a file twice; {live[0].name} is live.")
        if twice := [path for path in self.to if list(self.to).count(path) > 1]:
            raise UserError(f"--to {twice[0]} was given twice.")
        alone = [path for path in self.to if writers.is_single_source(path)]
        alone += [self.timeline] if self.timeline else []
        if alone and len(sources) > 1:
            raise UserError(f"{alone[0]} holds one video or picture, and here are {len(sources)}.")
        if self.summary:
            _check_summary(self.summary)
        for path in (*self.to, *filter(None, (self.summary, self.timeline))):
            for source in sources:
                atomic_file.check_not_source(path, source.location)

    def how_to_resume(self) -> str:
        """Where an interrupted run left what it found, and how to go on; empty if it left nothing.

        Pictures, pages and annotated videos are made whole or not at all.
        """
        parts = [part for part in map(partial_file.part_path, self.to) if part.exists()]
        parts = [part for part in parts if part.stat().st_size]
        if not parts:
            return ""
        drop = [f"--to {path}" for path in self.to if not writers.supports_resume(path)]
        drop += [f"--timeline {self.timeline}"] if self.timeline else []
        without = f", without {', '.join(drop)}" if drop else ""
        names = ", ".join(map(str, parts))
        if self.two_pass:
            return f"{names} holds what was found; --two-pass begins again, so move it away first."
        return f"{names} holds what was found; the same with --resume{without} goes on with it."

    def _check_stills(self) -> None:
        """No wish for a video may be silently of no account."""
        of_videos = {
            "--every, --from and --until are": self.pipeline().selection != FrameSelection(),
            "--two-pass is": self.two_pass,
            "--summary is": self.summary,
        }
        if vain := [which for which, wished in of_videos.items() if wished]:
            raise UserError(f"{vain[0]} for videos, and here are only pictures.")

    def _check_resume(self) -> None:
        if self.timeline:
            raise UserError("--timeline draws a whole run; --resume has only the rest of one.")
        if self.two_pass:
            raise UserError(
                "A --two-pass run cannot be resumed; move its output away and run it again."
            )
        if not self.to:
            raise UserError("--resume goes on with a file; say which: --to faces.jsonl.")
        for path in self.to:
            writers.open_writer(path, resume=True)  # refuses what nobody can go on with


def _check_summary(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise UserError(f"A summary is JSON, such as summary.json, not {path}.")
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")


def frame_selection(every: str, start: str, until: str) -> FrameSelection:
    """The part of a video: `"3"` or `"0.5s"`, `"1:30"`, and `"2:00"` or nothing for its end."""
    begin, end = seconds(start), seconds(until) if until else math.inf
    if begin > end:
        raise UserError(f"--until {until} lies before --from {start}.")
    return FrameSelection(*_every(every), begin, end)


def seconds(text: str) -> float:
    """Seconds: `"90"`, `"1:30"` and `"0:01:30.0"` -> 90.0."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    fine = all(0 <= part < (60 if k else math.inf) for k, part in enumerate(parts))
    if not 1 <= len(parts) <= 3 or not fine:
        raise UserError(f"{text} is no time; write seconds, or 1:30.")
    return sum(part * 60**k for k, part in enumerate(reversed(parts)))


def smoothing(time_constant: float) -> float:
    """The same, if it can be one."""
    if not 0 <= time_constant < math.inf:
        raise UserError(f"--smooth {time_constant:g} means nothing; write seconds, or 0 for none.")
    return time_constant


def _every(text: str) -> tuple[int, float]:
    """Frames and seconds: `"3"` -> (3, 0), `"0.5s"` -> (1, 0.5)."""
    try:
        frames, apart = (1, float(text[:-1])) if text.endswith("s") else (int(text), 0.0)
    except ValueError:
        frames, apart = 0, 0.0
    if frames < 1 or apart < 0 or (text.endswith("s") and not 0 < apart < math.inf):
        raise UserError(f"--every {text} means nothing; write a number of frames, or 0.5s.")
    return frames, apart
