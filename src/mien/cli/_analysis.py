"""`mien analyze`: analyze sources, write the outputs and print a summary."""

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
from mien.cli._common import EXIT_NO_FACE, EXIT_USER_ERROR, ErrorReporter, print_error
from mien.cli._options import AnalyzeOptions
from mien.cli._outputs import Outputs
from mien.cli._progress import ProgressBar
from mien.cli._run_summary import RunSummary
from mien.errors import UserError
from mien.io import image, partial_file
from mien.io.source import Source
from mien.pipeline import Callbacks
from mien.results import Face, Result, ResultWriter
from mien.tracking import checkpoint
from mien.tracking.checkpoint import Checkpoint
from mien.visualization.text import show

MAX_SOURCES_WITH_BARS = 8
"""Up to this many sources, each face is printed with bars; beyond, as one line."""


def run(classifier: Future[Classifier], options: AnalyzeOptions) -> None:
    """Run `mien analyze`.

    Args:
        classifier: the classifier, being loaded.
        options: the options of the command.

    Raises:
        SystemExit: with exit code 2 if a source failed, 3 if `--strict` found no face.
        UserError: an option is invalid.
    """
    report, pipeline_options = ErrorReporter(), options.pipeline()
    sources = pipeline.expand_sources(options.inputs, report, print_error)
    if not sources:
        sys.exit(EXIT_USER_ERROR)
    options.check(sources, is_complete=not report.count)
    detector = detection.load(options.detector, options.threads)
    image.warm_up()
    analyzer = Analyzer(classifier.result(), detector, contempt=options.contempt)
    summary, written = _analyzed(sources, analyzer, options, pipeline_options, report)
    with_bars = len(sources) <= MAX_SOURCES_WITH_BARS
    _conclude(options, summary, written, report, with_bars=with_bars)
    if report.count:
        sys.exit(EXIT_USER_ERROR)
    if options.strict and summary.frames_without_face:
        sys.exit(EXIT_NO_FACE)


def _analyzed(
    sources: Sequence[Source],
    analyzer: Analyzer,
    options: AnalyzeOptions,
    pipeline_options: pipeline.Options,
    report: ErrorReporter,
) -> tuple[RunSummary, list[Path]]:
    """Analyze all sources, write and print the results; returns their summary and the files."""
    summary, with_bars = RunSummary(), len(sources) <= MAX_SOURCES_WITH_BARS
    outputs = _outputs(options, report)
    with ExitStack() as stack:
        resume_from = Checkpoint()
        if options.resume:
            resume_from = _read_checkpoint(options.to, sources, summary, analyzer)
        stack.enter_context(outputs)
        stack.enter_context(_resume_hint_if_stopped(options))
        progress = stack.enter_context(ProgressBar(sources, pipeline_options.selection))
        callbacks = Callbacks(on_warning=report, on_error=report, track_progress=progress)
        faces = with_bars or not options.to
        show = partial(_print, as_json=options.as_json, bars=with_bars, faces=faces)
        writes: list[ResultWriter] = [summary.add, outputs, show]
        pipeline.run(sources, analyzer, writes, pipeline_options, callbacks, resume_from)
    if outputs.interrupted and (hint := options.resume_hint()):
        print_error(hint)
    return summary, outputs.paths


def _outputs(options: AnalyzeOptions, report: ErrorReporter) -> Outputs:
    """The writers of all files; raises `UserError` if one is misspelled."""
    openings = [(path, writers.open_writer(path, resume=options.resume)) for path in options.to]
    if options.timeline:
        openings.append((options.timeline, _timeline(options.timeline)))
    prints_all = options.as_json or not openings
    return Outputs(openings, report, others=prints_all or options.summary is not None)


def _conclude(
    options: AnalyzeOptions,
    summary: RunSummary,
    written: Sequence[Path],
    report: ErrorReporter,
    *,
    with_bars: bool,
) -> None:
    """Write the summary file, and print the counts and the output files."""
    if options.summary:
        try:
            summary.write(options.summary)
            written = [*written, options.summary]
        except UserError as error:
            report(error)
    files = [*options.to, *filter(None, (options.summary, options.timeline))]
    if options.as_json or not (summary.print_videos() or files or not with_bars):
        return
    # Pages, timelines and annotated videos without frames are not written.
    files = [path for path in files if path in written and path.exists()] if summary.frames else []
    click.echo(f"{summary} -> {', '.join(map(str, files))}" if files else f"{summary}")


def _print(result: Result, *, as_json: bool, bars: bool, faces: bool) -> None:
    """Print a frame's record, or an image's faces with or without bars."""
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
    elif faces and not result.frame.is_video:
        show(result, with_bars=bars)


def _read_checkpoint(
    to: Sequence[Path], sources: Sequence[Source], summary: RunSummary, analyzer: Analyzer
) -> Checkpoint:
    """The checkpoint of an interrupted run, whose results are added to the summary.

    Raises `UserError` if that run used another model, detector or set of emotions.
    """
    by_name = {source.name: source for source in sources}
    resume_from = checkpoint.read(to, by_name)
    current = (analyzer.model, analyzer.detector, analyzer.labels)
    for record in partial_file.read_common_records(to):
        faces = [Face.from_dict(face) for face in record["faces"]]
        labels = tuple(faces[0].emotions) if faces else analyzer.labels
        if (record["model"], record["detector"], labels) != current:
            raise UserError(
                f"The interrupted run used {record['model']}, {record['detector']} and "
                f"{len(labels)} emotions; repeat --resume with the same options."
            )
        is_video = by_name[record["source"]].is_video
        summary.add_faces(record["source"], record["seconds"], faces, is_video=is_video)
    return resume_from


def _timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien.visualization import timeline  # on use, because Pillow's drawing is slow to import

    return timeline.open_writer(path)


@contextmanager
def _resume_hint_if_stopped(options: AnalyzeOptions) -> Iterator[None]:
    """If the run is stopped, print where its results are and how to resume."""
    try:
        yield
    except (KeyboardInterrupt, UserError):
        if hint := options.resume_hint():
            print_error(hint)
        raise
