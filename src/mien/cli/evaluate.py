"""Measure a run or a model."""

from __future__ import annotations

from pathlib import Path

import click

from mien.classification import weights
from mien.cli._common import LABORATORY, print_error, terminal
from mien.cli._lab import DATA, lab

SECTION = LABORATORY


@click.command()
@click.argument("what")
@DATA
@click.option("--split", default="val", show_default=True,
              help="val (PublicTest), test (PrivateTest) or train.")  # fmt: skip
@click.option("--views", default="one", show_default=True,
              help="one, flip or ten: test-time augmentation.")  # fmt: skip
@click.option("--side", default=0, help="Window that a run's network sees; as trained by default.")
@click.option("--leave-out", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Faces that shall not judge: what `mien audit --clean` wrote.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON.")
@click.option("--report", is_flag=True, help="Also show each class and the confusions.")
def evaluate(
    what: str,
    data: Path,
    split: str,
    views: str,
    side: int,
    leave_out: Path | None,
    out: Path | None,
    report: bool,
) -> None:
    """Measure a run or a model.

    WHAT is a run folder, an .onnx file or a packaged model. Accuracy, calibration, and how true its
    proportions are, each with its 95 % interval.

    \b
        mien evaluate runs/default --data fer2013/
        mien evaluate my.onnx --data fer2013/ --views flip --out results/my.json
    """
    evaluator, runs = lab("evaluate"), lab("runs")
    path = Path(what) if Path(what).is_dir() else weights.model(what).path
    with terminal().progress(f"measuring {what}", None):
        result = evaluator.evaluate(
            path, data, split=split, views=views, side=side, leave_out=leave_out
        )
    for caution in lab("protocols").cautions(result):
        print_error(caution)
    if left := result["data"].get("left_out"):
        click.echo(f"{left['faces']:,} faces left out by {left['list']}")
    table = terminal().table
    for head, sections in result["heads"].items():
        rows = [
            (section, values["faces"], measure, number["value"], number["low"], number["high"])
            for section, values in sections.items()
            for measure, number in values.items()
            if isinstance(number, dict) and "value" in number
        ]
        title = f"{what}: {head}, {result['protocol']}, {split}, views {views}"
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
        lines = [
            (label, *(round(n) if name == "support" else n for name, n in row.items()))
            for label, row in scores.items()
        ]
        table(columns, lines, section)
        rows = [(label, *row) for label, row in zip(scores, values["confusion"], strict=True)]
        table(("true, by row", *scores), rows)
