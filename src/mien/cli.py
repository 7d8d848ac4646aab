"""The verbs: each parses, calls one function, prints."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

import mien
from mien import terminal, weights
from mien.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Read the proportions of emotion on every face in a picture.\n\n"
    "What it gives is an estimate of how people would label an expression; it does not read "
    "minds. Not for use at work, school, hiring, credit, policing or diagnosis.",
)

NOTHING_FOUND, MISTAKE = 3, 2
FEW = 8
"""Up to so many pictures, each face gets its bars; beyond, a line."""


def main() -> None:
    """Run the command line; exits 0 when done, 2 for the user's mistake, 1 for a bug."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bars and names beyond a narrow encoding become question marks, not a crash.
        sys.stdout.reconfigure(errors="replace")
    try:
        app()
    except UserError as error:
        _complain(error)
        sys.exit(MISTAKE)


Model = Annotated[
    str, typer.Option(help="A name from `mien models`, or the path of an .onnx file.")
]
DetectorName = Annotated[str, typer.Option(help="auto, yunet, haar or whole (it is one face).")]
Data = Annotated[Path, typer.Option(help="fer2013.csv, its folder, or one subfolder per emotion.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mien {mien.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


@app.command()
def analyze(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, folders, globs, or - for standard input.")
    ],
    to: Annotated[
        list[Path] | None,
        typer.Option(help="Write .jsonl, .csv, .parquet, .png, .jpg, or a folder of pictures."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON record per frame.")] = False,
    model: Model = "default",
    detector: DetectorName = "auto",
    contempt: Annotated[bool, typer.Option(help="Keep the eighth emotion.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit 3 if a picture shows no face.")] = False,
    offline: Annotated[bool, typer.Option(help="Download nothing.")] = False,
    threads: Annotated[int, typer.Option(min=0, help="For the classifier; 0 is all cores.")] = 0,
) -> None:
    """Read the emotions on the faces of pictures.

    \b
        mien analyze photo.jpg
        mien analyze photo.jpg --to annotated.png
        mien analyze holiday/ "more/*.webp" --to faces.csv
        cat photo.jpg | mien analyze - --json
    """
    from mien import sinks, sources
    from mien.analyzer import Analyzer

    if offline:
        os.environ["MIEN_OFFLINE"] = "1"
    bad: list[UserError] = []

    def skip(error: UserError) -> None:
        bad.append(error)
        _complain(error)

    files: list[str] = []
    for where in inputs:
        try:
            files += sources.paths(where)
        except UserError as error:
            skip(error)
    if not files:
        raise typer.Exit(MISTAKE)
    analyzer = Analyzer(model, detector, threads, contempt)
    counts = {"pictures": 0, "faces": 0, "without": 0}
    with ExitStack() as stack:
        writers = [stack.enter_context(sinks.to(path)) for path in to or []]
        bar = stack.enter_context(terminal.progress("analyzing", len(files)))
        (task,) = bar.task_ids
        frames = (f for file in files for f in _advancing(sources.frames(file, skip), bar, task))
        for frame, faces in analyzer.frames(frames):
            counts["pictures"] += 1
            counts["faces"] += len(faces)
            counts["without"] += not faces
            for write in writers:
                write(frame, faces)
            if as_json:
                from mien.faces import record

                sys.stdout.write(json.dumps(record(frame, faces), ensure_ascii=False) + "\n")
            elif len(files) <= FEW or not writers:
                terminal.show(frame, faces, bars=len(files) <= FEW)
    if not as_json and (to or len(files) > FEW):
        where = f" -> {', '.join(map(str, to))}" if to else ""
        terminal.out.print(f"{counts['pictures']:,} pictures, {counts['faces']:,} faces{where}")
    if bad:
        raise typer.Exit(MISTAKE)
    if strict and counts["without"]:
        raise typer.Exit(NOTHING_FOUND)


def _advancing(frames, bar, task):  # type: ignore[no-untyped-def]
    yield from frames
    bar.advance(task)


@app.command()
def models() -> None:
    """List the models that come with mien, with what was measured of them.

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
        terminal.out.print(f"[bold]{name}[/bold] gives {contract.card.get('means', '')}")
    columns = ("PublicTest", "size", "labels", "FER2013", "FER+ A", "divergence", "share error")
    terminal.out.print()
    terminal.table(columns, rows)


@app.command()
def download(
    names: Annotated[list[str] | None, typer.Argument(help="What to fetch; all if none.")] = None,
) -> None:
    """Fetch the files that mien does not carry (the detector yunet), checked by sha256.

    \b
        mien download yunet
        MIEN_YUNET=/some/yunet.onnx mien analyze photo.jpg
    """
    for name in names or list(weights.REMOTES):
        typer.echo(f"{name}: {weights.remote(name)}")


def _complain(error: UserError) -> None:
    terminal.err.print(f"mien: {error}", markup=False)


def _lab(name: str):  # type: ignore[no-untyped-def]
    """A module of the laboratory; a `UserError` that says what to install if torch is missing."""
    import importlib

    try:
        return importlib.import_module(f"mien.lab.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise UserError(f"This needs {error.name}: pip install 'mien[lab]'.") from None


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="The name of a recipe: default, tiny, ...")],
    data: Data,
    out: Annotated[Path, typer.Option(help="The run folder; an unfinished run is gone on with.")],
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change one field.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; by default what there is.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also log for TensorBoard.")] = False,
) -> None:
    """Train RECIPE on the Training faces of --data.

    \b
        mien train default --data fer2013/ --out runs/default
        mien train default --data fer2013/ --out runs/quick --set epochs=5 --set seed=1
        torchrun --nproc-per-node=8 -m mien train default --data fer2013/ --out runs/fast
    """
    recipes, trainer = _lab("recipe"), _lab("train")
    wanted = recipes.parse(recipe, change or [])
    with terminal.progress(recipe, None) as bar:
        (task,) = bar.task_ids
        epochs = [0, wanted.epochs]

        def watch(what: str, done: int, total: int) -> None:
            if what == "epoch":
                epochs[:] = [done, total]
            else:
                bar.update(
                    task,
                    description=f"{recipe}, epoch {epochs[0] + 1} of {epochs[1]}",
                    completed=epochs[0] * total + done,
                    total=epochs[1] * total,
                )

        run = trainer.fit(wanted, data, out, device=device, watch=watch, tensorboard=tensorboard)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(run.folder)


@app.command()
def evaluate(
    what: Annotated[Path, typer.Argument(help="A run folder or an .onnx file.")],
    data: Data,
    split: Annotated[str, typer.Option(help="val (PublicTest) or test (PrivateTest).")] = "val",
    views: Annotated[str, typer.Option(help="one, flip or ten: test-time augmentation.")] = "one",
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    report: Annotated[bool, typer.Option(help="Also show each class and the confusions.")] = False,
) -> None:
    """Measure a run or a model: accuracy, calibration, and how true its proportions are.

    \b
        mien evaluate runs/default --data fer2013/
        mien evaluate my.onnx --data fer2013/ --views flip --out results/my.json
    """
    evaluator, runs = _lab("evaluate"), _lab("runs")
    name = str(what)
    path = weights.model(name) if name in weights.models() else what
    result = evaluator.evaluate(path, data, split=split, kind=views)
    for head, sections in result["heads"].items():
        rows = [
            (section, values["faces"], measure, number["value"], number["low"], number["high"])
            for section, values in sections.items()
            for measure, number in values.items()
            if isinstance(number, dict) and "value" in number
        ]
        title = f"{what}: {head}, {split}, views {views}"
        terminal.table(("on", "faces", "measure", "value", "low", "high"), rows, title)
        if report:
            _report(sections)
    if out:
        runs.write_json(out, result)
        typer.echo(out)


def _report(sections: dict) -> None:
    for section, values in sections.items():
        if "per_class" not in values:
            continue
        scores = values["per_class"]
        columns = ("class", *next(iter(scores.values())))
        terminal.table(columns, [(label, *row.values()) for label, row in scores.items()], section)
        rows = [(label, *row) for label, row in zip(scores, values["confusion"], strict=True)]
        terminal.table(("true, by row", *scores), rows)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    head: Annotated[str, typer.Option(help="votes (FER+, eight) or labels (FER2013).")] = "votes",
    data: Annotated[
        Path | None, typer.Option(help="Fit the temperature on the PublicTest of this data.")
    ] = None,
    side: Annotated[int, typer.Option(help="Window the network sees; 0 as trained.")] = 0,
    sharpen: Annotated[float, typer.Option(help="Divide the temperature by this.")] = 1.0,
    storage: Annotated[str, typer.Option(help="float32, float16 or int8.")] = "float32",
) -> None:
    """Write a run as one .onnx file, checked against torch.

    \b
        mien export runs/default my.onnx --data fer2013/ --storage float16
    """
    exporter, runs, datasets = _lab("export"), _lab("runs"), _lab("data")
    splits = datasets.load(data) if data else {}
    exporter.export(
        runs.open_run(run),
        out,
        head=head,
        side=side,
        calibrate=datasets.split(splits, "val") if data else None,
        sharpen=sharpen,
        storage=storage,
    )
    typer.echo(f"{out}  {out.stat().st_size / 1e6:.1f} MB")
