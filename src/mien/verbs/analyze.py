"""Emotions on pictures and videos."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click

from mien import journal, live, resuming, sinks
from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.faces import record, recorded
from mien.printing import show
from mien.tracks import TIME_CONSTANT
from mien.verbs import _wishes
from mien.verbs._common import MISTAKE, NO_FACE, complain
from mien.verbs._reading import Reading, files, is_moving
from mien.verbs._tally import Tally
from mien.verbs._wishes import Wishes

FEW = 8
"""Up to so many pictures, each face gets its bars; beyond, a line."""


@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Write .jsonl, .csv, .parquet, .png, .jpg, .mp4, .html, or a folder of "
              "annotated pictures; may be given several times.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per frame.")
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="auto", show_default=True,
              help="auto, yunet, haar or whole (the picture is one face).")  # fmt: skip
@click.option("--every", default="1", show_default=True, metavar="N|0.5s",
              help="Of a video or stream, every Nth frame, or one in so many seconds.")  # fmt: skip
@click.option("--from", "start", default="0", metavar="TIME", help="Where to start: 90, 1:30.")
@click.option("--until", default="", metavar="TIME", help="Where to end.")
@click.option("--smooth", default=TIME_CONSTANT, show_default=True, metavar="SECONDS",
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
@click.option("--strict", is_flag=True, help="Exit 3 if a picture, or a frame, shows no face.")
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
    if offline:
        os.environ["MIEN_OFFLINE"] = "1"
    bad: list[UserError] = []

    def skip(error: UserError) -> None:
        bad.append(error)
        complain(error)

    part, smooth = _wishes.part(every, start, until), _wishes.smoothing(smooth)
    wishes = Wishes(to, summary, timeline, two_pass, resume)
    found = files(inputs, skip)
    if not found:
        sys.exit(MISTAKE)
    wishes.check(found)
    analyzer = Analyzer(model, detector, threads, contempt)
    tally = Tally()
    bars, lines = len(found) <= FEW, len(found) <= FEW or not to
    with ExitStack() as stack:
        left = _left(to, found, tally, analyzer) if resume else resuming.Left()
        writers = [stack.enter_context(sinks.to(path, resumed=resume)) for path in to]
        if timeline:
            writers.append(stack.enter_context(_timeline(timeline)))
        stack.enter_context(_telling_how_to_go_on(wishes))
        reading = Reading(analyzer, part, smooth, two_pass, left, skip)
        source = ""
        try:
            for frame, faces in stack.enter_context(closing(reading.faces(found))):
                source = frame.source
                tally.add(source, frame.seconds, faces)
                for write in writers:
                    write(frame, faces)
                if as_json:
                    click.echo(json.dumps(record(frame, faces), ensure_ascii=False))
                elif lines and not is_moving(source):
                    show(frame, faces, bars=bars)
        except KeyboardInterrupt:
            # That is how something live ends; what has been found is kept.
            if not live.is_live(source):
                raise
    if summary:
        tally.write(summary)
    if not as_json and (tally.print() or to or not bars):
        click.echo(f"{tally}" + (f" -> {', '.join(map(str, to))}" if to and tally.frames else ""))
    if bad:
        sys.exit(MISTAKE)
    if strict and tally.without:
        sys.exit(NO_FACE)


def _left(
    to: Sequence[Path], files: Sequence[str], tally: Tally, analyzer: Analyzer
) -> resuming.Left:
    """What an earlier run left to do; what it did is counted.

    Raises `UserError` if it did it otherwise.
    """
    left = resuming.read(to, is_moving)
    if others := sorted({*left.done, left.video} - {"", "standard input", *files}):
        raise UserError(f"What was stopped was reading {others[0]}; --resume with the same inputs.")
    ours = (analyzer.model, analyzer.detector, analyzer.labels)
    for known in journal.earlier(to):
        faces = recorded(known)
        labels = tuple(faces[0].emotions) if faces else analyzer.labels
        if (known["model"], known["detector"], labels) != ours:
            raise UserError(
                f"What was stopped was found by {known['model']} and {known['detector']}, "
                f"{len(labels)} emotions; --resume goes on with the same command."
            )
        tally.add(known["source"], known["seconds"], faces)
    return left


def _timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien import timeline  # Pillow's drawing takes a while to import

    return timeline.to(path)


@contextmanager
def _telling_how_to_go_on(wishes: Wishes) -> Iterator[None]:
    """If it is stopped, where what was found lies, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, UserError):
        if said := wishes.how_to_go_on():
            complain(said)
        raise
