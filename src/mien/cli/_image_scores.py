"""Print the scores of an evaluation on labeled images: overall, by emotion and by group."""

from __future__ import annotations

from collections.abc import Mapping

import click

from mien.cli._imports import terminal
from mien.cli._messages import print_message

METRICS = {
    "accuracy": "accuracy",
    "macro_recall": "macro recall",
    "macro_f1": "macro-F1",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "top_label_gap": "top-label gap",
}
"""Key of a score against the labels -> its name in the table."""

GROUP_METRICS = {
    "detection_rate": "detected",
    "accuracy": "accuracy",
    "accuracy_difference": "minus others",
    "macro_recall": "macro recall",
    "calibration_error": "calibration error",
    "top_label_gap": "top-label gap",
}
"""Key of a score of a group -> its column in the table.

`accuracy_difference` is the accuracy of the group minus that of all other images.
"""

MIN_FACES = 30
"""Minimum number of faces of a group for conclusions; with fewer, the intervals are too wide."""


def print_result(result: Mapping, per_class: bool) -> None:
    """Print a result of `mien.lab.evaluate_images`.

    Args:
        result: The result.
        per_class: Whether to also print the recall of each emotion in each group.
    """
    scores = result["scores"]
    _print_counts(result["data"], scores)
    title = f"{result['name']} on {result['data']['name']}, detector {result['detector']}"
    _print_scores(scores, title)
    _print_confusion(scores)
    for column, groups in result["groups"].items():
        _print_groups(column, groups)
        if per_class:
            _print_recalls(column, groups)


def _print_counts(counts: Mapping, scores: Mapping) -> None:
    click.echo(
        f"{counts['images']:,} images, of which {scores['images']:,} can be evaluated; a face was "
        f"detected in {scores['faces']:,} of these"
    )
    if several := counts["several_faces"]:
        click.echo(f"images with several faces, of which the largest is evaluated: {several:,}")
    if counts["left_out"]:
        labels = ", ".join(f"{count:,} {label}" for label, count in counts["left_out"].items())
        print_message(f"images with other labels, which are not evaluated: {labels}")
    if counts["unreadable"]:
        print_message(f"images that cannot be read: {counts['unreadable']:,}")
    if scores["detection_rate"]["value"] < 0.5:
        print_message("no face was detected in most images; if they are face crops, use "
                      "--detector whole")  # fmt: skip


def _print_scores(scores: Mapping, title: str) -> None:
    """Print the scores against labels and votes, and the recall of each emotion."""
    rows = [(name, *_interval(scores[key])) for key, name in METRICS.items()]
    rows += [(f"votes: {key.replace('_', ' ')}", *_interval(score))
             for key, score in scores.get("proportions", {}).items() if key != "faces"]  # fmt: skip
    terminal().print_table(("score", "value", "low", "high"), rows, title)
    terminal().print_table(
        ("emotion", "faces", "recall", "low", "high"),
        [
            (emotion, recall["faces"], *_interval(recall))
            for emotion, recall in scores["recall"].items()
        ],
    )


def _print_confusion(scores: Mapping) -> None:
    labels = list(scores["per_class"])
    counts_by_label = zip(labels, scores["confusion"], strict=True)
    rows = [(label, *counts) for label, counts in counts_by_label if any(counts)]
    terminal().print_table(("true \\ predicted", *labels), rows)


def _print_groups(column: str, groups: Mapping[str, Mapping]) -> None:
    rows = []
    for group, scores in groups.items():
        intervals = [_format_interval(scores.get(key)) for key in GROUP_METRICS]
        rows.append((group, scores["images"], *intervals))
    terminal().print_table((column, "images", *GROUP_METRICS.values()), rows)
    if small := [group for group, scores in groups.items() if scores["faces"] < MIN_FACES]:
        click.echo(f"too few faces for conclusions (below {MIN_FACES}): {', '.join(small)}")


def _print_recalls(column: str, groups: Mapping[str, Mapping]) -> None:
    rows = [
        (group, emotion, recall["faces"], *_interval(recall))
        for group, scores in groups.items()
        for emotion, recall in scores.get("recall", {}).items()
    ]
    terminal().print_table((column, "emotion", "faces", "recall", "low", "high"), rows)


def _interval(score: Mapping[str, float]) -> tuple[float, float, float]:
    return score["value"], score["low"], score["high"]


def _format_interval(score: Mapping[str, float] | None) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*_interval(score)) if score else ""
