"""What `mien analyze` does once its options are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import click

from mien import detection, pipeline, writers
from mien.analyzer import Analyzer
from mien.classification.classifier import Classifier
from mien.cli._common import EXIT_NO_FACE, EXIT_USER_ERROR, print_error
from mien.cli._options import AnalyzeOptions
from mien.cli._progress import ProgressBar
from mien.cli._tally import Tally
from mien.errors import UserError
from mien.io import image, partial_file
from mien.io.source import Source
from mien.pipeline import Callbacks
from mien.results import Face, Result, Write
from mien.tracking import checkpoint
from mien.tracking.checkpoint import Checkpoint
from mien.visualization.text import show

FEW = 8
"""Up to so many pictures, each face gets its bars; beyond, a line."""


class _Complaints:
    """Prints errors as they come, and counts them."""

    count = 0

    def __call__(self, error: UserError) -> None:
        self.count += 1
        print_error(error)


def run(classifier: Future[Classifier], asked: AnalyzeOptions) -> None:
    """Analyze, write and print, as the options say; exits as they say, too."""
    complaints, options = _Complaints(), asked.pipeline()
    sources = pipeline.expand_sources(asked.inputs, complaints)
    if not sources:
        sys.exit(EXIT_USER_ERROR)
    asked.check(sources, all_there=not complaints.count)
    detect = detection.load(asked.detector, asked.threads)
    image.warm_up()
    analyzer = Analyzer(classifier.result(), detect, contempt=asked.contempt)
    tally = _analyzed(sources, analyzer, asked, options, complaints)
    _conclude(asked, tally, few=len(sources) <= FEW)
    if complaints.count:
        sys.exit(EXIT_USER_ERROR)
    if asked.strict and tally.without:
        sys.exit(EXIT_NO_FACE)


def _analyzed(
    sources: Sequence[Source],
    analyzer: Analyzer,
    asked: AnalyzeOptions,
    options: pipeline.Options,
    complaints: _Complaints,
) -> Tally:
    """What was read, once all of it is written and printed."""
    tally = Tally()
    with ExitStack() as stack:
        done = _done(asked.to, sources, tally, analyzer) if asked.resume else Checkpoint()
        outputs = _outputs(asked, stack, few=len(sources) <= FEW)
        stack.enter_context(_telling_how_to_resume(asked))
        watch = stack.enter_context(ProgressBar(sources, options.selection))
        callbacks = Callbacks(on_warning=complaints, on_error=complaints, track_progress=watch)
        pipeline.run(sources, analyzer, [tally.add, *outputs], options, callbacks, done)
    return tally


def _outputs(asked: AnalyzeOptions, stack: ExitStack, *, few: bool) -> list[Write]:
    """The writers of all files, open until the stack is closed, and the one that prints."""
    found = [
        stack.enter_context(writers.open_writer(path, resume=asked.resume)) for path in asked.to
    ]
    if asked.timeline:
        found.append(stack.enter_context(_timeline(asked.timeline)))
    return [*found, partial(_print, as_json=asked.as_json, bars=few, lines=few or not asked.to)]


def _conclude(asked: AnalyzeOptions, tally: Tally, *, few: bool) -> None:
    """Write the summary, and print what was read and where it was written."""
    if asked.summary:
        tally.write(asked.summary)
    if not asked.as_json and (tally.print() or asked.to or not few):
        files = ", ".join(map(str, asked.to)) if tally.frames else ""
        click.echo(f"{tally} -> {files}" if files else f"{tally}")


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
    for one in partial_file.read_common_records(to):
        faces = [Face.from_dict(face) for face in one["faces"]]
        labels = tuple(faces[0].emotions) if faces else analyzer.labels
        if (one["model"], one["detector"], labels) != ours:
            raise UserError(
                f"What was stopped was found by {one['model']} and {one['detector']}, "
                f"{len(labels)} emotions; --resume goes on with the same command."
            )
        is_video = known[one["source"]].is_video
        tally.count(one["source"], one["seconds"], faces, is_video=is_video)
    return done


def _timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien.visualization import timeline  # Pillow's drawing takes a while to import

    return timeline.open_writer(path)


@contextmanager
def _telling_how_to_resume(asked: AnalyzeOptions) -> Iterator[None]:
    """If it is stopped, where what was found lies, and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, UserError):
        if said := asked.how_to_resume():
            print_error(said)
        raise
