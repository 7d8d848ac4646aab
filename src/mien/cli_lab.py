"""The laboratory's verbs. Each parses, calls one function and prints; torch is imported inside."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from mien import weights
from mien.errors import UserError


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
OUT = click.option("--out", type=click.Path(path_type=Path), required=True,
                   help="The folder of the runs; finished ones are used again.")  # fmt: skip
CHANGES = click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE",
                       help="Change one field of the recipe.")  # fmt: skip


def terminal() -> ModuleType:
    """The module that draws tables and bars; rich takes a tenth of a second to import."""
    return importlib.import_module("mien.terminal")


@contextmanager
def _watching():  # type: ignore[no-untyped-def]
    """A bar for one or many trainings: gives what `trials` and `reproduce` take as `watch`."""
    with terminal().progress("training", None) as bar:
        (task,) = bar.task_ids

        def watch(name: str, recipe: Any) -> Callable[[str, int, int], None]:
            epoch = 0

            def step(what: str, done: int, total: int) -> None:
                nonlocal epoch
                if what == "epoch":
                    epoch = done
                    return
                title = f"{name}, epoch {epoch + 1} of {recipe.epochs}"
                done, total = epoch * total + done, recipe.epochs * total
                bar.update(task, description=title, completed=done, total=total)

            return step

        yield watch


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write audit.json and sheets of examples.")  # fmt: skip
@click.option("--clean", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="List what a clean evaluation leaves out, and why.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Leave out near twins, which take a minute.")
def audit(data: Path, out: Path | None, clean: Path | None, quick: bool) -> None:
    """Show what a dataset hides: twins, labels in doubt, faces that are none.

    DATA is fer2013.csv, its folder, or a folder with train/EMOTION/, val/EMOTION/.

    \b
        mien audit fer2013/
        mien audit fer2013/ --out audit/ --clean clean.csv
    """
    auditor, datasets, runs = _lab("audit"), _lab("data"), _lab("runs")
    splits = datasets.load(data)
    if clean and set(splits) == {"train"}:
        raise UserError(f"{data} has only a train split; --clean is for val and test.")
    with terminal().progress("comparing faces", None) as bar:
        (task,) = bar.task_ids

        def watch(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = auditor.audit(splits, quick=quick, watch=watch)
    result = {"data": datasets.describe(splits)} | auditor.summary(found)
    click.echo(f"{data}: {result['data']['name']}")
    for title, columns, rows in auditor.tables(result):
        click.echo()
        terminal().table(columns, rows, title)
    if clean:
        auditor.write_clean(clean, found)
        counts = ", ".join(f"{k} {len(faces)}" for k, faces in auditor.left_out(found).items())
        click.echo(f"{clean}: {counts}" + (" (near twins were not looked for)" if quick else ""))
    if out:
        runs.write_json(out / "audit.json", result)
        for path in (out / "audit.json", *_lab("sheets").write(out, found)):
            click.echo(path)


@click.command()
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

    RECIPE is default, tiny, common, or vgg19, sequential or hybrid, also with -paper; --set changes
    it. It is trained on the train split of --data.

    \b
        mien train default --data fer2013/ --out runs/default
        mien train default --data fer2013/ --out runs/quick --set epochs=5 --set seed=1
        torchrun --nproc-per-node=8 -m mien train default --data fer2013/ --out runs/fast
    """
    recipes, trainer = _lab("recipe"), _lab("train")
    wanted = recipes.parse(recipe, changes)
    with _watching() as watch:
        run = trainer.fit(
            wanted, data, out, device=device, watch=watch(recipe, wanted), tensorboard=tensorboard
        )
    if os.environ.get("RANK", "0") == "0":
        click.echo(run.folder)


@click.command()
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
    with terminal().progress(f"measuring {what}", None):
        result = evaluator.evaluate(path, data, split=split, views=views, side=side)
    table = terminal().table
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
    table = terminal().table
    for section, values in sections.items():
        if "per_class" not in values:
            continue
        scores = values["per_class"]
        columns = ("class", *next(iter(scores.values())))
        table(columns, [(label, *row.values()) for label, row in scores.items()], section)
        rows = [(label, *row) for label, row in zip(scores, values["confusion"], strict=True)]
        table(("true, by row", *scores), rows)


@click.command()
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


@click.command()
@click.argument("recipe")
@DATA
@OUT
@CHANGES
@click.option("--protocol", default="kfold", show_default=True,
              help="kfold, kfold-ungrouped, or leaky-kfold, a mistake on show.")  # fmt: skip
@click.option("--folds", default=5, show_default=True)
def crossval(
    recipe: str, data: Path, out: Path, changes: tuple[str, ...], protocol: str, folds: int
) -> None:
    """Train once per fold; print mean, spread and all held-out answers.

    Goes on where it was stopped; several may work on the same --out.

    \b
        mien crossval hybrid --set model=hybrid-slim --data fer2013/ --out runs/crossval
    """
    wanted = _lab("recipe").parse(recipe, (*changes, f"protocol={protocol}", f"folds={folds}"))
    with _watching() as watch:
        result = _lab("trials").crossval(wanted, data, out, watch)
    rows = [(name, *numbers.values()) for name, numbers in result["folds"].items()]
    over = result["over_folds"]
    rows += [(row, *(number[row] for number in over.values())) for row in ("mean", "sd")]
    terminal().table(("fold", *over), rows, f"{recipe}, {protocol}")
    pooled = result["all_held_out"]["accuracy"]
    click.echo(
        f"all held-out answers: accuracy {pooled['value']:.3f} "
        f"({pooled['low']:.3f} to {pooled['high']:.3f})"
    )
    click.echo(out / "crossval.json")


@click.command()
@click.argument("recipe")
@DATA
@OUT
@CHANGES
@click.option("--change", "cases", multiple=True, metavar="'NAME: FIELD=VALUE ...'",
              help="A case to train beside the recipe as it is; several times. By default, all "
              "that the recipe and its network can do without.")  # fmt: skip
@click.option("--seeds", default=1, show_default=True, help="Train each so many times.")
def ablate(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    cases: tuple[str, ...],
    seeds: int,
) -> None:
    """Train as it is and without each part; print what each is worth.

    Goes on where it was stopped; several may work on the same --out.

    \b
        mien ablate hybrid --set model=hybrid-slim --data fer2013/ --out runs/ablation
        mien ablate default --change "no flip: flip=no" --data fer2013/ --out runs/flip
    """
    wanted = _lab("recipe").parse(recipe, changes)
    trials = _lab("trials")
    asked = dict(map(_case, cases)) or trials.parts(wanted)
    with _watching() as watch:
        result = trials.ablate(wanted, data, out, asked, range(seeds), watch)
    rows = []
    for name, case in result["cases"].items():
        accuracy, gain = case["over_seeds"]["accuracy"], case["against_as_it_is"]
        rows.append((name, case["parameters"], accuracy["mean"], accuracy["sd"], *gain.values()))
    columns = ("case", "parameters", "accuracy", "sd", "change", "low", "high")
    terminal().table(columns, rows, f"{recipe}: the same faces, with and without")
    click.echo(out / "ablation.json")


def _case(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, changes = text.partition(":")
    if not colon or not changes.split():
        raise UserError(f"{text!r} changes nothing; write 'NAME: FIELD=VALUE', as in "
                        "'no dropout: dropout=0'.")  # fmt: skip
    return name.strip(), tuple(changes.split())


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="By default, in the run's folder.")
@click.option("--data", type=click.Path(path_type=Path),
              help="Also show faces: the worst mistakes, and where the network looks.")  # fmt: skip
def report(folders: tuple[Path, ...], out: Path | None, data: Path | None) -> None:
    """Make a page of tables and figures of one run, or of several side by side.

    FOLDERS are measured runs (mien evaluate).

    \b
        mien report runs/default --data fer2013/
        mien report runs/vgg19 runs/sequential --out compared
    """
    reporter, page, runs = _lab("report"), _lab("page"), _lab("runs")
    several = [runs.open_run(folder) for folder in folders]
    if len(several) == 1:
        made = reporter.of_run(several[0], data)
    else:
        made = reporter.of_runs(several)
        if out is None:
            raise UserError("Say where the comparison goes: --out FOLDER.")
    click.echo(page.write(made, out or folders[0]))


@click.command()
@click.argument("exhibits", nargs=-1, required=True)
@DATA
@OUT
@CHANGES
@click.option("--variant", default="common", show_default=True,
              help="common (mien's recipe), paper (the authors' settings, as far as known) or "
              "slim (small networks, for CPUs).")  # fmt: skip
def reproduce(
    exhibits: tuple[str, ...], data: Path, out: Path, changes: tuple[str, ...], variant: str
) -> None:
    """Make the paper's tables and figures again, from real trainings.

    EXHIBITS are table1 to table5, fig1 to fig9, or all. What is trained already is used again.

    \b
        mien reproduce fig1 --data fer2013/ --out runs/paper
        mien reproduce all --variant slim --data fer2013/ --out runs/paper
    """
    with _watching() as watch:
        made = _lab("reproduce").reproduce(
            exhibits, data, out, watch, variant=variant, changes=changes
        )
    for block in made.blocks:
        if hasattr(block, "rows"):
            terminal().table(block.columns, block.rows, block.caption)
    click.echo(_lab("page").write(made, out, "-".join(exhibits)))


@click.command()
@click.argument("results", default="results/leaderboard", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write leaderboard.html, leaderboard.md and the figures.")  # fmt: skip
def leaderboard(results: Path, out: Path | None) -> None:
    """Compare systems: what was claimed, what is measured, and at what cost.

    RESULTS is a folder of what mien evaluate --out wrote, all by the same protocol and split.

    \b
        mien leaderboard
        mien leaderboard my-results/ --out compared/
    """
    board, page = _lab("leaderboard"), _lab("page")
    made = board.page(board.read(results))
    shown = ("model", "claimed", "measured", "low", "high", "FER+", "MMAC", "ms a face")
    (full,) = [b for b in made.blocks if getattr(b, "columns", ())[-1:] == ("training, min",)]
    places = [full.columns.index(column) for column in shown]
    rows = [["" if row[k] is None else row[k] for k in places] for row in full.rows]
    terminal().table(shown, rows)
    if out:
        click.echo(page.write(made, out, "leaderboard"))


VERBS = (audit, train, evaluate, export, crossval, ablate, report, reproduce, leaderboard)
