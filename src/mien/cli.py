"""The verbs: each parses, calls one function, prints. Those of the laboratory: `mien.cli_lab`."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click

import mien
from mien import shelf, weights
from mien.cli_lab import VERBS, terminal
from mien.errors import UserError

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


for verb in VERBS:
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
    contempt: bool,
    strict: bool,
    offline: bool,
    threads: int,
) -> None:
    """Read the emotions on the faces of pictures.

    INPUTS are pictures, folders, globs, or - for standard input.

    \b
        mien analyze photo.jpg
        mien analyze photo.jpg --to annotated.png
        mien analyze holiday/ "more/*.webp" --to faces.csv
        cat photo.jpg | mien analyze - --json
    """
    from mien.analyzer import Analyzer
    from mien.faces import record

    if offline:
        os.environ["MIEN_OFFLINE"] = "1"
    bad: list[UserError] = []

    def skip(error: UserError) -> None:
        bad.append(error)
        _complain(error)

    files = _files(inputs, skip)
    if not files:
        sys.exit(MISTAKE)
    analyzer = Analyzer(model, detector, threads, contempt)
    counts: Counter[str] = Counter()
    bars, lines = len(files) <= FEW, len(files) <= FEW or not to
    with ExitStack() as stack:
        writers = [stack.enter_context(_sink(path)) for path in to]
        for frame, faces in analyzer.frames(_frames(files, skip, stack)):
            counts.update(picture=1, face=len(faces), without=not faces)
            for write in writers:
                write(frame, faces)
            if as_json:
                click.echo(json.dumps(record(frame, faces), ensure_ascii=False))
            elif lines:
                terminal().show(frame, faces, bars=bars)
    if not as_json and (to or not bars):
        where = f" -> {', '.join(map(str, to))}" if to else ""
        click.echo(f"{_count(counts, 'picture')}, {_count(counts, 'face')}{where}")
    if bad:
        sys.exit(MISTAKE)
    if strict and counts["without"]:
        sys.exit(NO_FACE)


def _count(counts: Counter[str], what: str) -> str:
    return f"{counts[what]:,} {what}" + "s" * (counts[what] != 1)


def _files(inputs: tuple[str, ...], skip: Callable[[UserError], None]) -> list[str]:
    from mien import sources

    files = []
    for where in inputs:
        try:
            files += sources.paths(where)
        except UserError as error:
            skip(error)
    return files


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


def _sink(path: Path):  # type: ignore[no-untyped-def]
    from mien import sinks

    return sinks.to(path)


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
