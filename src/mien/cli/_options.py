"""The options of `mien analyze`, validated before anything is read or written."""

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
    """The options of `mien analyze`, with the names and types that click passes."""

    inputs: tuple[str, ...]
    output_paths: tuple[Path, ...]
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
        """Return the options of the pipeline; an invalid value raises a `UserError`."""
        return Options(
            selection=parse_frame_selection(self.every, self.start, self.until),
            smoothing=check_smoothing(self.smooth),
            two_pass=self.two_pass,
        )

    def check(self, sources: Sequence[Source], *, all_inputs_readable: bool = True) -> None:
        """Check that the options fit the sources, and that no output would overwrite a source.

        Args:
            sources: The sources to analyze.
            all_inputs_readable: Whether all inputs could be read.

        Raises:
            UserError: An option does not fit; the message names the option.
        """
        if self.resume:
            self._check_resume()
        if all_inputs_readable and not any(source.is_video for source in sources):
            self._check_no_video_options()
        if self.two_pass and (live := [source for source in sources if source.is_live]):
            raise UserError(
                f"--two-pass reads a video file twice and cannot be used with {live[0].name}."
            )
        if repeated := [path for path in self.output_paths if self.output_paths.count(path) > 1]:
            raise UserError(f"--to {repeated[0]} is given twice; give each output once.")
        single = [path for path in self.output_paths if writers.is_single_source(path)]
        single += [self.timeline] if self.timeline else []
        if single and len(sources) > 1:
            advice = "give a folder: --to annotated/"
            if single[0] == self.timeline:
                advice = "run the command once for each video"
            raise UserError(
                f"{single[0]} can hold only one image or video, but {len(sources)} are given; "
                f"{advice}."
            )
        if self.summary:
            _check_summary(self.summary)
        for path in (*self.output_paths, *filter(None, (self.summary, self.timeline))):
            for source in sources:
                atomic_file.check_not_source(path, source.location)

    def resume_hint(self) -> str:
        """Return a sentence on where the results of an interrupted run are, and how to resume it.

        It is empty if the run has written no `.part` file. Images, HTML pages and annotated videos
        are written completely or not at all.
        """
        parts = [part for part in map(partial_file.part_path, self.output_paths) if part.exists()]
        parts = [part for part in parts if part.stat().st_size]
        if not parts:
            return ""
        unsupported = [
            f"--to {path}"
            for path in self.output_paths
            if partial_file.part_path(path) not in parts
        ]
        unsupported += [f"--timeline {self.timeline}"] if self.timeline else []
        without = f" but without {', '.join(unsupported)}" if unsupported else ""
        names = ", ".join(map(str, parts))
        if self.two_pass:
            return (
                f"The results so far are in {names}. A run with --two-pass cannot be resumed; move "
                "them away before you repeat the command."
            )
        return (
            f"The results so far are in {names}. To continue, repeat the command with --resume"
            f"{without}."
        )

    def _check_no_video_options(self) -> None:
        """Reject video-only options when every input is an image."""
        video_options = {
            "--every, --from and --until are": self.pipeline().selection != FrameSelection(),
            "--two-pass is": self.two_pass,
            "--summary is": self.summary,
        }
        if used := [option for option, is_used in video_options.items() if is_used]:
            raise UserError(f"{used[0]} only for videos, but every input is an image.")

    def _check_resume(self) -> None:
        if self.timeline:
            raise UserError(
                "--timeline cannot be used with --resume, because it needs the whole run."
            )
        if self.two_pass:
            raise UserError(
                "--resume cannot be used with --two-pass; move the results so far away and repeat "
                "the command without --resume."
            )
        if not self.output_paths:
            raise UserError("--resume needs the output to continue, such as --to faces.jsonl.")
        for path in self.output_paths:
            writers.open_writer(path, resume=True)  # raises if the format does not support it


def _check_summary(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise UserError(f"--summary {path} does not end in .json; use summary.json.")
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: the folder {path.parent} does not exist.")


def parse_frame_selection(every: str, start: str, until: str) -> FrameSelection:
    """Parse `--every`, `--from` and `--until`.

    Args:
        every: `"3"` frames or `"0.5s"`.
        start: A time such as `"90"` or `"1:30"`.
        until: A time, or empty for the end of the video.

    Raises:
        UserError: A value is invalid, or the end is before the start.
    """
    first, last = parse_seconds(start), parse_seconds(until) if until else math.inf
    if first > last:
        raise UserError(f"--until {until} is before --from {start}; give a later time.")
    return FrameSelection(*_parse_every(every), first, last)


def parse_seconds(text: str) -> float:
    """Parse a time: `"90"`, `"1:30"` and `"0:01:30.0"` are 90.0 seconds."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    is_valid = all(0 <= part < (60 if k else math.inf) for k, part in enumerate(parts))
    if not 1 <= len(parts) <= 3 or not is_valid:
        raise UserError(f"{text!r} is not a time; use seconds or 1:30.")
    return sum(part * 60**k for k, part in enumerate(reversed(parts)))


def check_smoothing(time_constant: float) -> float:
    """Return the time constant in seconds; raise a `UserError` if it is negative or not finite."""
    if not 0 <= time_constant < math.inf:
        raise UserError(f"--smooth {time_constant:g} is not valid; use seconds, or 0 for none.")
    return time_constant


def _parse_every(text: str) -> tuple[int, float]:
    """Parse `--every` into frames and seconds: `"3"` -> (3, 0), `"0.5s"` -> (1, 0.5)."""
    try:
        frames, interval = (1, float(text[:-1])) if text.endswith("s") else (int(text), 0.0)
    except ValueError:
        frames, interval = 0, 0.0
    if frames < 1 or interval < 0 or (text.endswith("s") and not 0 < interval < math.inf):
        raise UserError(f"--every {text} is not valid; use a number of frames, or 0.5s.")
    return frames, interval
