"""The options of `mien analyze`, validated before anything is read or written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
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

    def pipeline_options(self) -> Options:
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
            all_inputs_readable: Whether all inputs could be read; otherwise, an unreadable one may
                be a video, and options for videos are accepted.

        Raises:
            UserError: An option does not fit, or an output is one of the sources.
        """
        if self.resume:
            self._check_resume()
        if all_inputs_readable and not any(source.is_video for source in sources):
            self._check_no_video_options()
        if self.two_pass and (live := [source for source in sources if source.is_live]):
            raise UserError(
                f"--two-pass reads a video file twice and cannot be used with {live[0].name}."
            )
        self._check_output_paths(len(sources))
        for path in (*self.output_paths, *filter(None, (self.summary, self.timeline))):
            for source in sources:
                atomic_file.check_not_source(path, source.location)

    def resume_hint(self) -> str:
        """Return a hint where the results of an interrupted run are, and how to resume it.

        It is empty if there is no partial file with results. Only `.jsonl`, `.csv` and `.parquet`
        outputs have one; all others are written completely or not at all.
        """
        partial_files = {path: partial_file.part_path(path) for path in self.output_paths}
        resumable = {
            path: part
            for path, part in partial_files.items()
            if part.exists() and part.stat().st_size
        }
        if not resumable:
            return ""
        hint = f"The results so far are in {', '.join(map(str, resumable.values()))}."
        if self.two_pass:
            return (
                f"{hint} A run with --two-pass cannot be resumed; move these results away before "
                "you repeat the command."
            )
        omitted = [f"--to {path}" for path in self.output_paths if path not in resumable]
        omitted += [f"--timeline {self.timeline}"] if self.timeline else []
        exception = f" but without {', '.join(omitted)}" if omitted else ""
        return f"{hint} To continue, repeat the command with --resume{exception}."

    def _check_output_paths(self, source_count: int) -> None:
        timelines = [self.timeline] if self.timeline else []
        paths = [*self.output_paths, *timelines]
        check_distinct(paths)
        single_source = [path for path in self.output_paths if writers.is_single_source(path)]
        single_source += timelines
        if single_source and source_count > 1:
            advice = "run the command once for each"
            if single_source[0] != self.timeline:
                advice += ", or write annotated images to a folder: --to annotated/"
            raise UserError(
                f"{single_source[0]} can hold only one image or video, but {source_count} are "
                f"given; {advice}."
            )
        if self.summary:
            _check_summary(self.summary)

    def _check_no_video_options(self) -> None:
        """Reject options for videos; only `--smooth` and `--timeline` are accepted for images."""
        selection = self.pipeline_options().selection
        video_options = {
            "--every, --from and --until are": selection != FrameSelection(),
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
            writers.open_writer(path, resume=True)  # an error if the format does not support it


def check_distinct(paths: Sequence[Path]) -> None:
    """Raise a `UserError` if two outputs have the same path."""
    if repeated := [path for path in paths if paths.count(path) > 1]:
        raise UserError(f"{repeated[0]} is given for two outputs; give each its own path.")


def _check_summary(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise UserError(f"--summary {path} does not end in .json; use summary.json.")
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: folder {path.parent} not found. Create it first.")


def parse_frame_selection(every: str, start: str, until: str) -> FrameSelection:
    """Parse `--every`, `--from` and `--until`.

    Args:
        every: A number of frames such as `"3"`, or a time step such as `"0.5s"`.
        start: A time such as `"90"` or `"1:30"`.
        until: A time, or an empty string for the end of the video.

    Raises:
        UserError: A value is invalid, or the end is before the start.
    """
    start_seconds = parse_seconds(start)
    end_seconds = parse_seconds(until) if until else math.inf
    if start_seconds > end_seconds:
        raise UserError(f"--until {until} is before --from {start}; give a later time.")
    return FrameSelection(*_parse_every(every), start_seconds, end_seconds)


def parse_seconds(text: str) -> float:
    """Parse a time as seconds: `"90"`, `"1:30"` and `"0:01:30.0"` are 90.0.

    Raises:
        UserError: The text is not a time.
    """
    try:
        fields = [float(field) for field in text.split(":")]
    except ValueError:
        fields = []
    is_valid = all(0 <= field < math.inf for field in fields)
    # The first field may exceed 59: 90 seconds, or 90:00 for 90 minutes.
    is_below_60 = all(field < 60 for field in fields[1:])
    if not (1 <= len(fields) <= 3 and is_valid and is_below_60):
        raise UserError(f"{text!r} is not a time; use seconds or 1:30.")
    return sum(field * 60**k for k, field in enumerate(reversed(fields)))


def check_smoothing(time_constant: float) -> float:
    """Return the time constant; raise a `UserError` if it is negative or not finite."""
    if not 0 <= time_constant < math.inf:
        raise UserError(f"--smooth {time_constant:g} is not valid; use seconds, or 0 for none.")
    return time_constant


def _parse_every(text: str) -> tuple[int, float]:
    """Parse `--every` into frames and seconds: `"3"` -> (3, 0), `"0.5s"` -> (1, 0.5)."""
    with suppress(ValueError):  # not a number
        if text.endswith("s") and 0 < float(text[:-1]) < math.inf:
            return 1, float(text[:-1])
        if not text.endswith("s") and int(text) >= 1:
            return int(text), 0.0
    raise UserError(f"--every {text} is not valid; use a number of frames, or seconds as in 0.5s.")
