"""`mien evaluate`: evaluate a run or a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mien.classification import weights
from mien.cli import _image_scores
from mien.cli._imports import lab, terminal
from mien.cli._messages import print_message
from mien.cli._sections import TRAINING
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), required=True,
              help="fer2013.csv, its folder, a folder of images with EMOTION/ or val/EMOTION/, or "
              "a CSV or Parquet table with the columns path and emotion.")  # fmt: skip
@click.option("--split", default="val", show_default=True,
              help="val (PublicTest), test (PrivateTest) or train.")  # fmt: skip
@click.option("--detector",
              help="Detector for images: yunet (default), or whole for face crops.")  # fmt: skip
@click.option("--group", "groups", multiple=True, metavar="COLUMN",
              help="Also evaluate the groups in this column of the table; can be repeated. The "
              "columns age, gender, sex, ethnicity and race are always used.")  # fmt: skip
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
@click.option("--per-class", is_flag=True,
              help="Also show the scores of each emotion and confusion matrices; for your own "
              "images, the recall of each emotion in each group.")  # fmt: skip
def evaluate(
    model: str,
    data: Path,
    split: str,
    detector: str | None,
    groups: tuple[str, ...],
    tta: str,
    input_size: int,
    exclude: Path | None,
    out: Path | None,
    per_class: bool,
) -> None:
    """Evaluate the accuracy and calibration of a run or a model.

    MODEL is a run folder, an .onnx file or a name listed by mien models. If the data has the votes
    of several raters, the divergence of the predicted shares from the votes is computed as well.
    Overall metrics, and recalls on your own images, have 95 % confidence intervals.

    Faces in your own images are detected and cropped as in mien analyze. A folder of images of
    48 x 48 pixels is evaluated as face crops like those of FER2013, without detection.

    \b
        mien evaluate runs/default --data fer2013/
        mien evaluate my.onnx --data fer2013/ --tta flip --out results/my.json
        mien evaluate default --data faces.csv --group skin_tone
    """
    is_run = Path(model).is_dir()
    if detector or groups or (not is_run and _has_images(data)):
        options = {"--tta": tta != "none", "--input-size": input_size, "--exclude": exclude}
        _check_image_options(model, is_run, [name for name, value in options.items() if value])
        result = _evaluate_images(model, data, split, detector or "yunet", groups)
        _image_scores.print_result(result, per_class)
    else:
        evaluator = lab("evaluate")
        path = Path(model) if is_run else weights.model(model).path
        with terminal().progress(f"evaluating {model}", None):
            result = evaluator.evaluate(
                path, data, split=split, tta=tta, input_size=input_size, exclude=exclude
            )
        _print_result(model, split, tta, result, per_class)
    if out:
        lab("runs", "report").write_json(out, result)
        click.echo(out)


def _has_images(data: Path) -> bool:
    return lab("labeled_images", "report").can_load(data)


def _check_image_options(model: str, is_run: bool, options: Sequence[str]) -> None:
    """Raise a `UserError` if a run or one of these options is given for images."""
    if is_run:
        raise UserError(f"{model} is a run; export it to evaluate it with a detector: "
                        f"mien export {model} my.onnx")  # fmt: skip
    if options:
        raise UserError(f"{options[0]} is only for FER2013 and folders of 48 x 48 crops, not for "
                        "images in which faces are detected.")  # fmt: skip


def _evaluate_images(
    model: str, data: Path, split: str, detector: str, groups: Sequence[str]
) -> dict[str, Any]:
    evaluator = lab("evaluate_images", "report")
    with terminal().progress(f"evaluating {model}", None) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.update(bar.task_ids[0], completed=done, total=total)

        return evaluator.evaluate(
            weights.model(model), data, split=split, detector=detector, groups=groups,
            on_error=print_message, on_progress=on_progress,
        )  # fmt: skip


def _print_result(model: str, split: str, tta: str, result: dict, per_class: bool) -> None:
    for warning in lab("protocols").warnings(result):
        print_message(warning)
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
        terminal().print_table(("section", "faces", "metric", "value", "low", "high"), rows, title)
        if per_class:
            _print_per_class(sections)


def _print_per_class(sections: dict) -> None:
    print_table = terminal().print_table
    for section, values in sections.items():
        if "per_class" not in values:
            continue
        per_class = values["per_class"]
        metrics = list(next(iter(per_class.values())))
        rows = [
            (label, *(round(scores[m]) if m == "support" else scores[m] for m in metrics))
            for label, scores in per_class.items()
        ]
        print_table(("class", *metrics), rows, section)
        confusion = zip(per_class, values["confusion"], strict=True)
        confusion_rows = [(label, *counts) for label, counts in confusion]
        print_table(("true \\ predicted", *per_class), confusion_rows)
