"""Command: evaluate a run or a model file."""

from __future__ import annotations

from pathlib import Path

import click

from mien.classification import weights
from mien.cli._common import TRAINING, print_error, terminal
from mien.cli._lab import DATA, lab

SECTION = TRAINING


@click.command()
@click.argument("model")
@DATA
@click.option("--split", default="val", show_default=True,
              help="val (PublicTest), test (PrivateTest) or train.")  # fmt: skip
@click.option("--tta", default="none", show_default=True,
              help="Test-time augmentation: none, flip or ten_crop.")  # fmt: skip
@click.option("--input-size", default=0, metavar="PIXELS",
              help="Input size of a run's network (default: the size it was trained "
              "with).")  # fmt: skip
@click.option("--exclude", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Exclude the faces listed in this file, which mien audit "
              "--exclusions writes.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Write the result as JSON.")  # fmt: skip
@click.option(
    "--per-class", is_flag=True, help="Also show per-class scores and confusion matrices."
)
def evaluate(
    model: str,
    data: Path,
    split: str,
    tta: str,
    input_size: int,
    exclude: Path | None,
    out: Path | None,
    per_class: bool,
) -> None:
    """Evaluate a run or a model: accuracy, calibration, and divergence from the raters' votes.

    MODEL is a run folder, an .onnx file or the name of a packaged model. Every score has a
    95 % confidence interval.

    \b
        mien evaluate runs/default --data fer2013/
        mien evaluate my.onnx --data fer2013/ --tta flip --out results/my.json
    """
    evaluator, runs = lab("evaluate"), lab("runs")
    path = Path(model) if Path(model).is_dir() else weights.model(model).path
    with terminal().progress(f"evaluating {model}", None):
        result = evaluator.evaluate(
            path, data, split=split, tta=tta, input_size=input_size, exclude=exclude
        )
    for warning in lab("protocols").warnings(result):
        print_error(warning)
    if excluded := result["data"].get("excluded"):
        click.echo(f"{excluded['faces']:,} faces excluded by {excluded['list']}")
    for head, sections in result["heads"].items():
        rows = [
            (section, scores["faces"], metric, score["value"], score["low"], score["high"])
            for section, scores in sections.items()
            for metric, score in scores.items()
            if isinstance(score, dict) and "value" in score
        ]
        title = f"{model}: {head}, {result['protocol']}, {split}, test-time augmentation {tta}"
        terminal().table(("section", "faces", "metric", "value", "low", "high"), rows, title)
        if per_class:
            _print_per_class(sections)
    if out:
        runs.write_json(out, result)
        click.echo(out)


def _print_per_class(sections: dict) -> None:
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
        table(("true \\ predicted", *scores), rows)
