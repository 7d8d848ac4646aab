"""What `mien analyze` does once its options are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import click

from mien import detection
from mien import writers as sinks
from mien.analyzer import Analyzer
from mien.classification.classifier import Classifier
from mien.cli import _wishes
from mien.cli._common import MISTAKE, NO_FACE, complain
from mien.cli._tally import Tally
from mien.cli._wishes import Wishes
from mien.errors import UserError
from mien.io import image, partial_file
from mien.io.source import Source
from mien.pipeline import Reading, find
from mien.results import Face, Result
from mien.tracking import checkpoint
from mien.tracking.checkpoint import Checkpoint
from mien.visualization.text import show

FEW = 8
"""Up to so many pictures, each face gets its bars; beyond, a line."""


def run(
    classifier: Future[Classifier],
    *,
    inputs: tuple[str, ...],
    to: tuple[Path, ...],
    as_json: bool,
    detector: str,
    threads: int,
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
) -> None:
    """Read, tell and write, as the options of the same names say; exits as they say, too."""
    bad: list[UserError] = []

    def skip(error: UserError) -> None:
        bad.append(error)
        complain(error)

    part, smooth = _wishes.part(every, start, until), _wishes.smoothing(smooth)
    wishes = Wishes(to, part, summary, timeline, two_pass, resume)
    found = find(inputs, skip)
    if not found:
        sys.exit(MISTAKE)
    wishes.check(found, all_there=not bad)
    detect = detection.load(detector, threads)
    image.warm_up()
    analyzer = Analyzer(classifier.result(), detect, contempt=contempt)
    tally = Tally()
    few = len(found) <= FEW
    with ExitStack() as stack:
        done = _done(to, found, tally, analyzer) if resume else Checkpoint()
        writers = [stack.enter_context(sinks.to(path, resumed=resume)) for path in to]
        if timeline:
            writers.append(stack.enter_context(_timeline(timeline)))
        writers.append(partial(_print, as_json=as_json, bars=few, lines=few or not to))
        stack.enter_context(_telling_how_to_go_on(wishes))
        reading = Reading(analyzer, part, smooth, two_pass, done, skip)
        is_live = False
        try:
            for result in stack.enter_context(closing(reading.faces(found))):
                frame = result.frame
                is_live = frame.is_live
                tally.add(frame.source, frame.seconds, result, is_video=frame.is_video)
                for write in writers:
                    write(result)
        except KeyboardInterrupt:
            # That is how something live ends; what has been found is kept.
            if not is_live:
                raise
    if summary:
        tally.write(summary)
    if not as_json and (tally.print() or to or not few):
        click.echo(f"{tally}" + (f" -> {', '.join(map(str, to))}" if to and tally.frames else ""))
    if bad:
        sys.exit(MISTAKE)
    if strict and tally.without:
        sys.exit(NO_FACE)


def _print(result: Result, *, as_json: bool, bars: bool, lines: bool) -> None:
    """A frame's record, or a still's faces: with bars, in lines, or not at all."""
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    elif lines and not result.frame.is_video:
        show(result, bars=bars)


def _done(
    to: Sequence[Path], sources: Sequence[Source], tally: Tally, analyzer: Analyzer
) -> Checkpoint:
    """What an earlier run has done, counted.

    Raises `UserError` if it did it otherwise.
    """
    known = {source.name: source for source in sources}
    done = checkpoint.read(to, known)
    ours = (analyzer.model, analyzer.detector, analyzer.labels)
    for one in partial_file.earlier(to):
        faces = [Face.from_dict(face) for face in one["faces"]]
        labels = tuple(faces[0].emotions) if faces else analyzer.labels
        if (one["model"], one["detector"], labels) != ours:
            raise UserError(
                f"What was stopped was found by {one['model']} and {one['detector']}, "
                f"{len(labels)} emotions; --resume goes on with the same command."
            )
        is_video = known[one["source"]].is_video
        tally.add(one["source"], one["seconds"], faces, is_video=is_video)
    return done


def _timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien.visualization import timeline  # Pillow's drawing takes a while to import

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
