"""The verbs: each parses, calls one function, prints."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import click

import mien
from mien import shelf, weights
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
                _terminal().show(frame, faces, bars=bars)
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
        bar = stack.enter_context(_terminal().progress("analyzing", len(files)))
        advance = lambda: bar.advance(bar.task_ids[0])  # noqa: E731
    for file in files:
        yield from sources.frames(file, skip)
        advance()


def _sink(path: Path):  # type: ignore[no-untyped-def]
    from mien import sinks

    return sinks.to(path)


def _terminal() -> ModuleType:
    """The module that draws tables and bars; rich takes a tenth of a second to import."""
    return importlib.import_module("mien.terminal")


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
    _terminal().table(columns, rows)


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


def _lab(name: str) -> ModuleType:
    """A module of the laboratory; a `UserError` that says what to install if torch is missing."""
    try:
        return importlib.import_module(f"mien.lab.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise UserError(f"This needs {error.name}: pip install 'mien[lab]'.") from None


DATA = click.option("--data", type=click.Path(path_type=Path), required=True,
                    help="fer2013.csv, its folder, or train/EMOTION/, val/EMOTION/.")  # fmt: skip


@app.command()
@click.argument("recipe")
@DATA
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="The run folder; an unfinished run is gone on with.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change one field.")
@click.option("--device", help="cpu or cuda; by default what there is.")
@click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard.")
def train(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    device: str | None,
    tensorboard: bool,
) -> None:
    """Train a model; goes on where it was stopped.

    RECIPE is default or tiny, changed by --set; it is trained on the train split of --data.

    \b
        mien train default --data fer2013/ --out runs/default
        mien train default --data fer2013/ --out runs/quick --set epochs=5 --set seed=1
        torchrun --nproc-per-node=8 -m mien train default --data fer2013/ --out runs/fast
    """
    recipes, trainer = _lab("recipe"), _lab("train")
    wanted = recipes.parse(recipe, changes)
    with _terminal().progress(recipe, None) as bar:
        (task,) = bar.task_ids
        epoch = 0

        def watch(what: str, done: int, total: int) -> None:
            nonlocal epoch
            if what == "epoch":
                epoch = done
                return
            title = f"{recipe}, epoch {epoch + 1} of {wanted.epochs}"
            done, total = epoch * total + done, wanted.epochs * total
            bar.update(task, description=title, completed=done, total=total)

        run = trainer.fit(wanted, data, out, device=device, watch=watch, tensorboard=tensorboard)
    if os.environ.get("RANK", "0") == "0":
        click.echo(run.folder)


@app.command()
@click.argument("what")
@DATA
@click.option("--split", default="val", show_default=True,
              help="val (PublicTest), test (PrivateTest) or train.")  # fmt: skip
@click.option("--views", default="one", show_default=True,
              help="one, flip or ten: test-time augmentation.")  # fmt: skip
@click.option("--side", default=0, help="Window that a run's network sees; as trained by default.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON.")
@click.option("--report", is_flag=True, help="Also show each class and the confusions.")
def evaluate(
    what: str, data: Path, split: str, views: str, side: int, out: Path | None, report: bool
) -> None:
    """Measure a run or a model.

    WHAT is a run folder, an .onnx file or a packaged model. Accuracy, calibration, and how true its
    proportions are, each with its 95 % interval.

    \b
        mien evaluate runs/default --data fer2013/
        mien evaluate my.onnx --data fer2013/ --views flip --out results/my.json
    """
    evaluator, runs = _lab("evaluate"), _lab("runs")
    path = Path(what) if Path(what).is_dir() else weights.model(what)
    with _terminal().progress(f"measuring {what}", None):
        result = evaluator.evaluate(path, data, split=split, views=views, side=side)
    table = _terminal().table
    for head, sections in result["heads"].items():
        rows = [
            (section, values["faces"], measure, number["value"], number["low"], number["high"])
            for section, values in sections.items()
            for measure, number in values.items()
            if isinstance(number, dict) and "value" in number
        ]
        title = f"{what}: {head}, {split}, views {views}"
        table(("on", "faces", "measure", "value", "low", "high"), rows, title)
        if report:
            _report(sections)
    if out:
        runs.write_json(out, result)
        click.echo(out)


def _report(sections: dict) -> None:
    table = _terminal().table
    for section, values in sections.items():
        if "per_class" not in values:
            continue
        scores = values["per_class"]
        columns = ("class", *next(iter(scores.values())))
        table(columns, [(label, *row.values()) for label, row in scores.items()], section)
        rows = [(label, *row) for label, row in zip(scores, values["confusion"], strict=True)]
        table(("true, by row", *scores), rows)


@app.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--head", default="votes", show_default=True,
              help="votes (FER+, eight emotions) or labels (FER2013, seven).")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="Fit the temperature on the PublicTest of this data.")  # fmt: skip
@click.option("--side", default=0, help="Window that the network sees; as trained by default.")
@click.option("--sharpen", default=1.0, show_default=True, help="Divide the temperature by this.")
@click.option("--storage", default="float32", show_default=True, help="float32, float16 or int8.")
def export(
    run: Path, out: Path, head: str, data: Path | None, side: int, sharpen: float, storage: str
) -> None:
    """Write a finished run as one .onnx file.

    The file is written only if ONNX Runtime gives the same answers as torch.

    \b
        mien export runs/default my.onnx --data fer2013/ --storage float16
    """
    exporter, runs, datasets = _lab("export"), _lab("runs"), _lab("data")
    val = datasets.split(datasets.load(data), "val") if data else None
    found = runs.open_run(run)
    contract = exporter.export(
        found, out, head=head, side=side, calibrate=val, sharpen=sharpen, storage=storage
    )
    click.echo(f"{out}  {out.stat().st_size / 1e6:.1f} MB")
    for name, value in contract.card.get("publictest", {}).items():
        plain = contract.card["in_float32"][name]
        click.echo(f"  {name:14s} {value:+.4f}  (as float32 {plain:+.4f})")
