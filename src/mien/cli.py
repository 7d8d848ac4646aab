"""The verbs: each parses, calls one function, prints. Those of the laboratory: `mien.cli_lab`."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

import mien
from mien import shelf, weights
from mien.cli_lab import VERBS, terminal
from mien.cli_serve import serve
from mien.errors import UserError

if TYPE_CHECKING:
    from mien.analyzer import Analyzer
    from mien.faces import Face, Frame
    from mien.resuming import Left
    from mien.tracks import Summaries
    from mien.video import Part

MISTAKE, NO_FACE, STOPPED = 2, 3, 130

FEW = 8
"""Up to so many pictures, each face gets its bars; beyond, a line."""


class Verbs(click.Group):
    """A group of commands that guesses what a misspelt one meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; a `UserError` if there is none."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise shelf.unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mien.__version__, prog_name="mien", message="%(prog)s %(version)s")
def app() -> None:
    """Read the proportions of emotion on every face in a picture.

    What it gives is an estimate of how people would label an expression; it does not read minds.
    Not for use at work, school, hiring, credit, policing or diagnosis.

    \b
        mien analyze photo.jpg
    """


for verb in (*VERBS, serve):
    app.add_command(verb)


def main() -> None:
    """Run the command line; exits 0 when done, 2 for the user's mistake, 1 for a bug."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bars and names beyond a narrow encoding become question marks, not a crash.
        sys.stdout.reconfigure(errors="replace")
    warnings.showwarning = _warn
    try:
        sys.exit(app(prog_name="mien", standalone_mode=False))
    except UserError as error:
        _complain(error)
        sys.exit(MISTAKE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("mien: stopped", err=True)
        sys.exit(STOPPED)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line; where in the code it arose is nothing to a person."""
    click.echo(f"mien: {message}", err=True)


def _complain(error: UserError) -> None:
    click.echo(f"mien: {error}", err=True)


@app.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Write .jsonl, .csv, .parquet, .png, .jpg, or a folder of annotated pictures; "
              "may be given several times.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per frame.")
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="auto", show_default=True,
              help="auto, yunet, haar or whole (the picture is one face).")  # fmt: skip
@click.option("--every", default="1", show_default=True, metavar="N|SECONDSs",
              help="Of a video, every Nth frame, or one in so many seconds: 0.5s.")  # fmt: skip
@click.option(
    "--from", "start", default="0", metavar="TIME", help="Where a video starts: 90, 1:30."
)
@click.option("--until", default="", metavar="TIME", help="Where a video ends.")
@click.option("--smooth", default=0.5, show_default=True, metavar="SECONDS",
              help="Time constant of a video's smoothed emotions; 0 for none.")  # fmt: skip
@click.option("--two-pass", is_flag=True,
              help="Read video files twice, to smooth them without delay.")  # fmt: skip
@click.option("--summary", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Write what each face of a video showed over its time.")  # fmt: skip
@click.option("--timeline", type=click.Path(path_type=Path), metavar="FILE.png",
              help="Draw what each face of a video showed over its time.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Go on where this command was stopped: .jsonl, .csv, .parquet.")  # fmt: skip
@click.option("--contempt", is_flag=True, help="Keep the eighth emotion.")
@click.option("--strict", is_flag=True, help="Exit 3 if a picture shows no face.")
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("--threads", type=click.IntRange(0), default=0,
              help="For the classifier; all cores by default.")  # fmt: skip
def analyze(
    inputs: tuple[str, ...],
    to: tuple[Path, ...],
    as_json: bool,
    model: str,
    detector: str,
    every: str,
    start: str,
    until: str,
    smooth: float,
    two_pass: bool,
    summary: Path | None,
    timeline: Path | None,
    resume: bool,
    contempt: bool,
    strict: bool,
    offline: bool,
    threads: int,
) -> None:
    """Read the emotions on the faces of pictures and videos.

    INPUTS are pictures, videos, folders, globs, numbered pictures as a video (frames/%04d.png@30),
    - for a picture on standard input, camera:0, or the address of a stream.

    \b
        mien analyze photo.jpg
        mien analyze photo.jpg --to annotated.png
        mien analyze holiday/ "more/*.webp" --to faces.csv
        mien analyze clip.mp4 --to annotated.mp4 --to faces.parquet
        mien analyze talk.mp4 --every 0.5s --from 1:30 --until 2:00 --json
        cat photo.jpg | mien analyze - --json
    """
    from mien.analyzer import Analyzer
    from mien.faces import record
    from mien.printing import show
    from mien.tracks import Summaries
    from mien.video import Part

    if resume and timeline:
        raise UserError("--timeline draws a whole run; --resume has only the rest of one.")
    if resume and two_pass:
        raise UserError("--two-pass writes when all is known; there is nothing to --resume.")
    if resume and not to:
        raise UserError("--resume goes on with a file; say which: --to faces.jsonl.")
    if offline:
        os.environ["MIEN_OFFLINE"] = "1"
    bad: list[UserError] = []

    def skip(error: UserError) -> None:
        bad.append(error)
        _complain(error)

    part = Part(*_every(every), _time(start), _time(until) if until else math.inf)
    files = _files(inputs, skip)
    if not files:
        sys.exit(MISTAKE)
    analyzer = Analyzer(model, detector, threads, contempt)
    counts: Counter[str] = Counter()
    showed: dict[str, Summaries] = {}
    bars, lines = len(files) <= FEW, len(files) <= FEW or not to

    def count(source: str, seconds: float, faces: list[Face]) -> None:
        moving = _is_moving(source)
        what = "frame" if moving else "picture"
        counts.update({what: 1, "face": 0 if moving else len(faces), "without": not faces})
        if moving:
            showed.setdefault(source, Summaries()).add(seconds, faces)

    with ExitStack() as stack:
        left = _left(to, count) if resume else None
        writers = [stack.enter_context(_sink(path, resume)) for path in to]
        if timeline:
            writers.append(stack.enter_context(_timeline(timeline)))
        stack.enter_context(_telling_of_parts(to))
        for frame, faces in _analyzed(analyzer, files, part, smooth, skip, stack, left, two_pass):
            count(frame.source, frame.seconds, faces)
            moving = _is_moving(frame.source)
            for write in writers:
                write(frame, faces)
            if as_json:
                click.echo(json.dumps(record(frame, faces), ensure_ascii=False))
            elif lines and not moving:
                show(frame, faces, bars=bars)
    if summary:
        _write_summary(summary, showed)
    if not as_json:
        for source, summaries in showed.items():
            terminal().showed(source, summaries.records())
        if to or not bars or showed:
            click.echo(_counted(counts) + (f" -> {', '.join(map(str, to))}" if to else ""))
    if bad:
        sys.exit(MISTAKE)
    if strict and counts["without"]:
        sys.exit(NO_FACE)


def _counted(counts: Counter[str]) -> str:
    """How many frames and pictures there were, and faces on the pictures."""
    kinds = [what for what in ("frame", "picture") if counts[what]]
    kinds += ["face"] if counts["picture"] or not counts["frame"] else []
    return ", ".join(_count(counts, what) for what in kinds)


def _count(counts: Counter[str], what: str) -> str:
    return f"{counts[what]:,} {what}" + "s" * (counts[what] != 1)


def _every(text: str) -> tuple[int, float]:
    """Frames and seconds: `"3"` -> (3, 0), `"0.5s"` -> (1, 0.5)."""
    try:
        frames, seconds = (1, float(text[:-1])) if text.endswith("s") else (int(text), 0.0)
    except ValueError:
        frames, seconds = 0, 0.0
    if frames < 1 or seconds < 0 or (text.endswith("s") and not 0 < seconds < math.inf):
        raise UserError(f"--every {text} means nothing; write a number of frames, or 0.5s.")
    return frames, seconds


def _time(text: str) -> float:
    """Seconds: `"90"`, `"1:30"` and `"0:01:30.0"` -> 90.0."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(0 <= part < math.inf for part in parts):
        raise UserError(f"{text} is no time; write seconds, or 1:30.")
    return sum(part * 60**k for k, part in enumerate(reversed(parts)))


def _is_moving(where: str) -> bool:
    from mien import live, video

    return live.is_live(where) or video.is_video(where)


def _files(inputs: tuple[str, ...], skip: Callable[[UserError], None]) -> list[str]:
    from mien import live, sources, video

    files = []
    for where in inputs:
        try:
            known = sources.SUFFIXES | video.SUFFIXES
            alone = live.is_live(where) or video.is_sequence(where)
            files += [where] if alone else sources.paths(where, known)
        except UserError as error:
            skip(error)
    return files


def _analyzed(
    analyzer: Analyzer,
    files: list[str],
    part: Part,
    smooth: float,
    skip: Callable[[UserError], None],
    stack: ExitStack,
    left: Left | None,
    two_pass: bool,
) -> Iterator[tuple[Frame, list[Face]]]:
    """All frames with their faces: stills together, moving pictures one by one."""
    if left is not None:
        files = [file for file in files if file not in left.done]
    for moving, some in groupby(files, _is_moving):
        if not moving:
            yield from analyzer.frames(_frames(list(some), skip, stack))
            continue
        for place in some:
            past = left.past if left and place == left.video else None
            try:
                # Ctrl-C is how something live ends; what has been found is kept.
                with suppress(*([KeyboardInterrupt] if _is_live(place) else [])):
                    found = _timed(place, analyzer.stream(place, skip, part, smooth, past), part)
                    if two_pass and not _is_live(place):
                        found = _twice(place, found, part, smooth)
                    yield from found
            except UserError as error:
                if past is not None:  # what was found of it stays to be gone on with
                    raise
                skip(error)


def _twice(
    place: str, found: Iterator[tuple[Frame, list[Face]]], part: Part, smooth: float
) -> Iterator[tuple[Frame, list[Face]]]:
    """The same, watched again when all is known; what is damaged was told the first time."""
    from mien import twice, video

    return twice.watched(found, video.frames(place, part, lambda _: None), smooth)


def _is_live(where: str) -> bool:
    from mien import live

    return live.is_live(where)


def _timed(
    place: str, found: Iterator[tuple[Frame, list[Face]]], part: Part
) -> Iterator[tuple[Frame, list[Face]]]:
    """The same, under a bar that goes by the video's own time if somebody looks."""
    from mien import video

    if not sys.stderr.isatty() or _is_live(place):
        yield from found
        return
    length = min(video.about(place).seconds, part.end) - part.start
    began = time.monotonic()
    with terminal().progress(Path(place).name, max(round(length), 1)) as bar:
        for count, (frame, faces) in enumerate(found, 1):
            rate = count / max(time.monotonic() - began, 1e-3)
            title = f"{Path(place).name}, {rate:.0f} frames a second"
            done = round(frame.seconds - part.start)
            bar.update(bar.task_ids[0], completed=done, description=title)
            yield frame, faces


def _write_summary(path: Path, showed: dict[str, Summaries]) -> None:
    from mien import atomic

    records = {source: summaries.records() for source, summaries in showed.items()}
    with atomic.writing(path) as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n")


def _frames(files: list[str], skip: Callable[[UserError], None], stack: ExitStack) -> Iterator:
    """The frames of all files, with a bar that advances by file if somebody looks."""
    from mien import sources

    advance: Callable[[], object] = lambda: None  # noqa: E731
    if len(files) > 1 and sys.stderr.isatty():
        bar = stack.enter_context(terminal().progress("analyzing", len(files)))
        advance = lambda: bar.advance(bar.task_ids[0])  # noqa: E731
    for file in files:
        yield from sources.frames(file, skip)
        advance()


def _sink(path: Path, resumed: bool = False):  # type: ignore[no-untyped-def]
    from mien import sinks

    return sinks.to(path, resumed=resumed)


def _timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien import timeline

    return timeline.to(path)


def _left(to: tuple[Path, ...], count: Callable[[str, float, list[Face]], None]) -> Left:
    """What an earlier run left to do; what it did is counted."""
    from mien import journal, resuming
    from mien.faces import recorded

    left = resuming.read(to, _is_moving)
    for record in journal.earlier(to):
        count(record["source"], record["seconds"], recorded(record))
    return left


@contextmanager
def _telling_of_parts(to: tuple[Path, ...]) -> Iterator[None]:
    """If it is stopped, where what was found lies, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, UserError):
        from mien import journal

        parts = [part for part in map(journal.part, to) if part.exists() and part.stat().st_size]
        if parts:
            names = ", ".join(map(str, parts))
            click.echo(f"mien: {names} holds what was found; --resume goes on with it.", err=True)
        raise


@app.command()
@click.argument("source", default="camera:0")
@click.option("--to", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Also write .jsonl, .csv, .mp4, .html ...; several times.")  # fmt: skip
@click.option("--model", default="default", show_default=True)
@click.option("--detector", default="auto", show_default=True)
@click.option("--smooth", default=0.5, show_default=True, metavar="SECONDS")
@click.option("--seconds", default=math.inf, help="Stop by itself after so long.")
@click.option("--window/--no-window", "in_window", default=None,
              help="In a window, the default where it can be, or in the terminal.")  # fmt: skip
def camera(
    source: str,
    to: tuple[Path, ...],
    model: str,
    detector: str,
    smooth: float,
    seconds: float,
    in_window: bool | None,
) -> None:
    """Watch the faces before a camera, in a window or the terminal; Ctrl-C ends it.

    SOURCE is camera:0, camera:1, ..., or the address of a stream.

    \b
        mien camera
        mien camera rtsp://192.168.1.9/live --to today.jsonl
    """
    from mien import live, window
    from mien.analyzer import Analyzer
    from mien.tracks import Summaries

    if not live.is_live(source):
        raise UserError(f"{source} is no camera or stream; for a file, mien analyze {source}.")
    if in_window is not False and window.is_possible():
        watching = window.watching
    elif in_window:
        raise UserError("There is no display for a window, or no tkinter; --no-window needs none.")
    else:
        watching = terminal().watching
    analyzer, summaries = Analyzer(model, detector), Summaries()
    began = time.monotonic()
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        writers = [stack.enter_context(_sink(path)) for path in to]
        show = stack.enter_context(watching())
        newest = live.frames(source, _complain, began=began)
        for frame, faces in analyzer.follow(newest, smooth, newest=True):
            show(frame, faces, time.monotonic() - began - frame.seconds)
            summaries.add(frame.seconds, faces)
            for write in writers:
                write(frame, faces)
            if frame.seconds >= seconds:
                break
    terminal().showed(source, summaries.records(at_least=1.0))


@app.command()
def models() -> None:
    """List the packaged models and their numbers.

    \b
        mien models
    """
    from mien.classify import Classifier

    rows = []
    for name, path in weights.models().items():
        contract = Classifier(path, threads=1).contract
        measured = contract.card.get("publictest")
        found = measured if isinstance(measured, dict) else {}
        numbers = (found.get(key, "") for key in ("labels", "ferplus", "js_bits", "share_error"))
        rows.append((name, f"{path.stat().st_size / 1e6:.1f} MB", len(contract.labels), *numbers))
        click.echo(f"{name} gives {contract.card.get('means', '')}")
    columns = ("PublicTest", "size", "labels", "FER2013", "FER+ A", "divergence", "share error")
    click.echo()
    terminal().table(columns, rows)


@app.command()
@click.argument("names", nargs=-1)
def download(names: tuple[str, ...]) -> None:
    """Fetch what mien does not carry: yunet.

    It is the one file that mien ever downloads, checked by its sha256.

    \b
        mien download yunet
        MIEN_YUNET=/some/yunet.onnx mien analyze photo.jpg
    """
    for name in names or weights.REMOTES:
        click.echo(f"{name}: {weights.remote(name)}")
