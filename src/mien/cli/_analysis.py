"""Implementation of `mien analyze`: analyze sources, write the outputs and print a summary."""

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
from mien.cli._analyze_options import AnalyzeOptions
from mien.cli._messages import EXIT_NO_FACE, EXIT_USER_ERROR, ErrorReporter, print_message
from mien.cli._outputs import Outputs
from mien.cli._progress import ProgressBar
from mien.cli._run_summary import RunSummary
from mien.errors import UserError
from mien.io import image, partial_file
from mien.io.source import Source
from mien.pipeline import Callbacks
from mien.printable import is_printable, printable
from mien.results import Face, Result, ResultWriter
from mien.tracking import checkpoint
from mien.tracking.checkpoint import Checkpoint
from mien.visualization.text import print_faces

MAX_SOURCES_WITH_BARS = 8
"""Maximum number of sources for which each face is printed with bars. With more sources, each face
is printed as one line, or not at all if there are output files."""


def run(classifier: Future[Classifier], options: AnalyzeOptions) -> None:
    """Run `mien analyze`.

    Args:
        classifier: The classifier, which is loaded in a background thread.
        options: The options of the command.

    Raises:
        SystemExit: With code 2 if an input could not be read completely or an output could not be
            written, or 3 if `--strict` is given and a frame has no face.
        UserError: An option is invalid, the model or detector cannot be loaded, an interrupted run
            cannot be resumed, or no output remains that can be written.
    """
    report_error, pipeline_options = ErrorReporter(), options.pipeline_options()
    sources = pipeline.expand_sources(options.inputs, report_error, print_message)
    if not sources:
        sys.exit(EXIT_USER_ERROR)
    options.check(sources, all_inputs_readable=not report_error.count)
    detector = detection.load(options.detector, options.threads)
    image.warm_up()
    analyzer = Analyzer(classifier.result(), detector, contempt=options.contempt)
    summary, written_paths = _analyze(sources, analyzer, options, pipeline_options, report_error)
    with_bars = len(sources) <= MAX_SOURCES_WITH_BARS
    _write_and_print_summary(options, summary, written_paths, report_error, with_bars=with_bars)
    if report_error.count:
        sys.exit(EXIT_USER_ERROR)
    if options.strict and summary.frames_without_face:
        sys.exit(EXIT_NO_FACE)


def _analyze(
    sources: Sequence[Source],
    analyzer: Analyzer,
    options: AnalyzeOptions,
    pipeline_options: pipeline.Options,
    report_error: ErrorReporter,
) -> tuple[RunSummary, list[Path]]:
    """Analyze all sources, and write and print the results.

    Returns:
        The summary of the run, and the paths of the outputs that were written without an error.
    """
    summary, with_bars = RunSummary(), len(sources) <= MAX_SOURCES_WITH_BARS
    outputs = _open_outputs(options, report_error)
    with ExitStack() as stack:
        resume_from = Checkpoint()
        if options.resume:
            resume_from = _prepare_resume(options.output_paths, sources, summary, analyzer)
        stack.enter_context(outputs)
        stack.enter_context(_print_resume_hint_if_stopped(options))
        progress = stack.enter_context(ProgressBar(sources, pipeline_options.selection))
        callbacks = Callbacks(
            on_warning=report_error, on_error=report_error, track_progress=progress
        )
        print_result = partial(
            _print_result,
            as_json=options.as_json,
            prints_faces=with_bars or not options.output_paths,
            with_bars=with_bars,
        )
        result_writers: list[ResultWriter] = [summary.add, outputs, print_result]
        pipeline.run(sources, analyzer, result_writers, pipeline_options, callbacks, resume_from)
    if outputs.interrupted and (hint := options.resume_hint()):
        print_message(hint)
    return summary, outputs.paths


def _open_outputs(options: AnalyzeOptions, report_error: ErrorReporter) -> Outputs:
    """Create the writers of all outputs; an unsupported path raises a `UserError`."""
    contexts = [
        (path, writers.open_writer(path, resume=options.resume)) for path in options.output_paths
    ]
    if options.timeline:
        contexts.append((options.timeline, _open_timeline(options.timeline)))
    prints_results = options.as_json or not contexts
    return Outputs(
        contexts,
        report_error,
        continue_without_outputs=prints_results or options.summary is not None,
    )


def _write_and_print_summary(
    options: AnalyzeOptions,
    summary: RunSummary,
    written_paths: Sequence[Path],
    report_error: ErrorReporter,
    *,
    with_bars: bool,
) -> None:
    """Write the summary file, and print the summaries of videos, the counts and the outputs.

    With `--json`, nothing is printed, because standard output then contains only records.
    """
    if options.summary:
        try:
            summary.write(options.summary)
            written_paths = [*written_paths, options.summary]
        except UserError as error:
            report_error(error)
    if options.as_json:
        return
    has_videos = summary.print_videos()
    paths = [*options.output_paths, *filter(None, (options.summary, options.timeline))]
    if with_bars and not has_videos and not paths:
        return  # all faces have been printed
    # HTML pages, timelines and annotated videos without frames are not written.
    paths = [path for path in paths if path in written_paths and path.exists()]
    if paths and summary.frames:
        click.echo(f"{summary} -> {', '.join(map(printable, paths))}")
    else:
        click.echo(str(summary))


def _print_result(result: Result, *, as_json: bool, prints_faces: bool, with_bars: bool) -> None:
    """Print the record of a frame, or the faces of an image with or without bars."""
    if as_json:
        click.echo(_printable_json(result.to_dict()))
    elif prints_faces and not result.frame.is_video:
        print_faces(result, with_bars=with_bars)


def _printable_json(record: dict) -> str:
    """Convert a record to JSON in which unprintable characters of names are escaped."""
    text = json.dumps(record, ensure_ascii=False)
    if text.isprintable():
        return text
    # For a character that is not ASCII, `json.dumps` returns its escape sequence in quotes.
    return "".join(c if is_printable(c) else json.dumps(c)[1:-1] for c in text)


def _prepare_resume(
    paths: Sequence[Path], sources: Sequence[Source], summary: RunSummary, analyzer: Analyzer
) -> Checkpoint:
    """Synchronize the partial files of an interrupted run, and add their results to the summary.

    Returns:
        The checkpoint from which to resume.

    Raises:
        UserError: The interrupted run used other sources, or another model, detector or set of
            emotions.
    """
    by_name = {source.name: source for source in sources}
    resume_from = checkpoint.prepare_resume(paths, by_name)
    current = (analyzer.model, analyzer.detector, analyzer.labels)
    for record in partial_file.synchronize_and_read(paths):
        faces = [Face.from_dict(face) for face in record["faces"]]
        labels = tuple(faces[0].emotions) if faces else analyzer.labels
        if (record["model"], record["detector"], labels) != current:
            raise UserError(
                f"The interrupted run used the model {record['model']}, the detector "
                f"{record['detector']} and {len(labels)} emotions; use --resume with the same "
                "options."
            )
        is_video = by_name[record["source"]].is_video
        summary.add_faces(record["source"], record["seconds"], faces, is_video=is_video)
    return resume_from


def _open_timeline(path: Path):  # type: ignore[no-untyped-def]
    from mien.visualization import timeline  # here, because ImageDraw is slow to import

    return timeline.open_writer(path)


@contextmanager
def _print_resume_hint_if_stopped(options: AnalyzeOptions) -> Iterator[None]:
    """After Ctrl-C or an error, print where the results so far are and how to resume the run."""
    try:
        yield
    except (KeyboardInterrupt, UserError):
        if hint := options.resume_hint():
            print_message(hint)
        raise
