"""Build reports about evaluated runs: tables and figures, with published numbers for comparison.

All content is read from the files of a run folder, without torch. Figures of faces, which need the
dataset and the network, are in `report_faces`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.lab import claims, data, figures, runs, tables
from mien.lab.heads import CLASS_NAMES
from mien.lab.page import FigureBlock, Page
from mien.lab.runs import Run
from mien.labels import EMOTIONS, restrict_labels


def run_page(run: Run) -> Page:
    """Build the report about one run; a `UserError` if it is not evaluated."""
    result = run.result()
    page = Page(f"{run.config.model}, {result['protocol']}, seed {run.config.seed}")
    page.add(tables.training([run]), tables.summary(run, result))
    for head, sections in result["heads"].items():
        if tables.SECTIONS[head] not in sections:  # no evaluated face has a label for it
            continue
        page.add(f"# {tables.head_title(head)}")
        page.add(tables.head_scores(result, head), tables.per_class(run, head))
        page.add(*confusions(run, head), reliability(run, head))
    if (table := tables.proportions(result)) and (figure := proportions(run)):
        page.add("# Proportions", table, figure)
    page.add("# Training", *training_curves(run), learning_rate_and_time(run))
    return page


def comparison_page(all_runs: Sequence[Run]) -> Page:
    """Build the report that compares several runs.

    Raises:
        UserError: A run is given twice or is not evaluated, or the runs were evaluated on different
            data or splits, or with different options.
    """
    page = Page(f"Comparison of {len(all_runs)} runs")
    page.add(tables.training(all_runs), tables.comparison(all_runs), comparison(all_runs))
    if differences := tables.paired(all_runs):
        page.add(differences)
    for run, name in zip(all_runs, tables.run_names(all_runs), strict=True):
        summary = tables.summary(run, run.result())
        page.add(f"# {name}", summary, *training_curves(run, name))
    return page


def comparison(all_runs: Sequence[Run]) -> FigureBlock:
    """Plot the claimed and the measured accuracy of each run that has label scores."""
    rows = []
    for run, name in zip(all_runs, tables.run_names(all_runs), strict=True):
        section = run.result()["heads"].get("labels", {}).get("fer2013")
        if section:
            system = claims.SYSTEMS.get(run.config.model_family)
            claimed = system.claimed_accuracy if system else None
            accuracy = section["accuracy"]
            rows.append((name, claimed, accuracy["value"], accuracy["low"], accuracy["high"]))
    caption = "Claimed and measured accuracy."
    return FigureBlock("comparison", caption, figures.claimed_and_measured(rows))


def training_curves(run: Run, name: str = "") -> list[FigureBlock]:
    """Plot accuracy and loss by epoch, as in Figures 2, 3, 5, 6, 8 and 9 of the paper.

    Args:
        run: The run; if it has no log, the result is an empty list.
        name: Prefix of the file names; by default the name of the run folder.
    """
    log = run.log()
    if not log:
        return []
    claimed = claims.CLAIMED_TRAINING.get(run.config.model_family, {})
    blocks = []
    for metric, train_key in (("accuracy", "accuracy"), ("loss", "label_loss")):
        val_key = f"val_{metric}"
        claimed_points = [
            (f"{split}, claimed", claimed[key])
            for key, split in ((metric, "training"), (val_key, "validation"))
            if key in claimed
        ]
        figure = figures.training_curves(log, train_key, val_key, metric, claimed_points)
        file_name = f"{name or tables.run_name(run)}-{metric}"
        blocks.append(FigureBlock(file_name, f"{metric.title()} by epoch.", figure))
    return blocks


def learning_rate_and_time(run: Run) -> FigureBlock:
    """Plot the learning rate and the duration of each epoch."""
    figure = figures.learning_rate_and_time(run.log())
    caption = "Learning rate and seconds by epoch."
    return FigureBlock(f"{tables.run_name(run)}-learning-rate", caption, figure)


def confusions(run: Run, head: str = "labels") -> list[FigureBlock]:
    """Draw the confusion matrix in counts and in fractions, as in Figures 4 and 7 of the paper.

    The fractions are of the faces of each true class, so that each row sums to 1, or to 0 if the
    class has no faces.
    """
    section = run.result()["heads"][head][tables.SECTIONS[head]]
    matrix, labels = np.array(section["confusion"]), list(section["per_class"])
    return [
        FigureBlock(
            f"{tables.run_name(run)}-{head}-confusion-{kind}",
            f"Confusion matrix, {kind}. Rows are true labels, columns are predicted labels.",
            figures.confusion(matrix, labels, normalize=kind == "fractions"),
        )
        for kind in ("counts", "fractions")
    ]


def reliability(run: Run, head: str = "labels") -> FigureBlock:
    """Draw the reliability diagram of a head."""
    predictions = runs.load_predictions(run)
    truth = predictions["truth"] if head == "labels" else data.majority(predictions["raters"])
    labeled = truth >= 0
    figure = figures.reliability(predictions[head][labeled], truth[labeled])
    caption = "Accuracy by confidence, and the number of faces in each confidence bin."
    return FigureBlock(f"{tables.run_name(run)}-{head}-reliability", caption, figure)


def proportions(run: Run) -> FigureBlock | None:
    """Plot vote shares against predicted shares for each emotion; None without votes."""
    predictions = runs.load_predictions(run)
    has_enough_votes, shares = data.seven_shares(predictions["raters"])
    if not has_enough_votes.any():
        return None
    head = "votes" if "votes" in predictions else "labels"
    predicted_shares = restrict_labels(
        predictions[head][has_enough_votes], CLASS_NAMES[head], EMOTIONS
    )
    caption = (
        "Mean vote share by predicted share. On the dotted line they are equal. Larger dots are "
        "bins with more faces."
    )
    figure = figures.proportions(predicted_shares, shares, EMOTIONS)
    return FigureBlock(f"{tables.run_name(run)}-proportions", caption, figure)
