"""Tables of the scores on labelled images: all, by emotion and by group."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mien.cli._common import print_error, terminal

METRICS = {
    "accuracy": "accuracy",
    "macro_recall": "macro recall",
    "macro_f1": "macro-F1",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "top_label_gap": "top-label gap",
}
"""Scores against the labels that are printed, with their names in the table."""

MIN_FACES = 30
"""Groups with fewer faces have intervals too wide for conclusions."""


def print_result(result: Mapping, per_class: bool) -> None:
    """Print a result of `mien.lab.evaluate_images`.

    Args:
        result: The result.
        per_class: Also print the recall of each emotion in each group.
    """
    table, scores = terminal().table, result["scores"]
    _print_counts(result["data"], scores)
    title = f"{result['name']} on {result['data']['name']}, detector {result['detector']}"
    rows = [(name, *_interval(scores[key])) for key, name in METRICS.items()]
    rows += [(f"votes: {key.replace('_', ' ')}", *_interval(score))
             for key, score in scores.get("proportions", {}).items() if key != "faces"]  # fmt: skip
    table(("score", "value", "low", "high"), rows, title)
    emotions = scores["recall"]
    table(
        ("emotion", "faces", "recall", "low", "high"),
        [(name, row["faces"], *_interval(row)) for name, row in emotions.items()],
    )
    labels = list(scores["per_class"])
    confusion = zip(labels, scores["confusion"], strict=True)
    table(("true \\ predicted", *labels), [(label, *row) for label, row in confusion if any(row)])
    for column, groups in result["groups"].items():
        _print_groups(column, groups)
        if per_class:
            _print_recalls(column, groups)


def _print_counts(counts: Mapping, scores: Mapping) -> None:
    click.echo(
        f"{counts['images']:,} images, {scores['images']:,} with a known label and readable; a "
        f"face was detected in {scores['faces']:,} of these"
    )
    if several := counts["several_faces"]:
        click.echo(f"images with several faces, of which the largest is evaluated: {several:,}")
    if counts["left_out"]:
        labels = ", ".join(f"{count:,} {label}" for label, count in counts["left_out"].items())
        print_error(f"images with other labels, which are left out: {labels}")
    if counts["unreadable"]:
        print_error(f"images that cannot be read: {counts['unreadable']:,}")
    if scores["detection_rate"]["value"] < 0.5:
        print_error("no face was detected in most images; if they are face crops, give "
                    "--detector whole")  # fmt: skip


def _print_groups(column: str, groups: Mapping[str, Mapping]) -> None:
    rows = [
        (group, scores["images"], *(_text(scores.get(key)) for key in (
            "detection_rate", "accuracy", "accuracy_difference", "macro_recall",
            "calibration_error", "top_label_gap")))
        for group, scores in groups.items()
    ]  # fmt: skip
    columns = (column, "images", "detected", "accuracy", "minus others", "macro recall",
               "calibration error", "top-label gap")  # fmt: skip
    terminal().table(columns, rows)
    if small := [group for group, scores in groups.items() if scores["faces"] < MIN_FACES]:
        click.echo(f"too few faces for conclusions (below {MIN_FACES}): {', '.join(small)}")


def _print_recalls(column: str, groups: Mapping[str, Mapping]) -> None:
    rows = [
        (group, emotion, recall["faces"], *_interval(recall))
        for group, scores in groups.items()
        for emotion, recall in scores.get("recall", {}).items()
    ]
    terminal().table((column, "emotion", "faces", "recall", "low", "high"), rows)


def _interval(score: Mapping[str, float]) -> tuple[float, float, float]:
    return score["value"], score["low"], score["high"]


def _text(score: Mapping[str, float] | None) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*_interval(score)) if score else ""
