"""Finished runs -> a page: what was claimed and what is measured, tables, figures, faces.

All is made from a run's log, metrics and predictions, without torch; the sheets of faces, which
need the data and the network, come from `report_faces`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.lab import claims, data, figures, runs, tables
from mien.lab.heads import LABELS
from mien.lab.page import Page, Picture
from mien.lab.runs import Run
from mien.labels import EMOTIONS, restrict_labels


def of_run(run: Run) -> Page:
    """The page of one run; a `UserError` if it is not measured."""
    result = tables.measured(run)
    page = Page(f"{run.config.model}, {result['protocol']}, seed {run.config.seed}")
    page.add(tables.summary(run, result), tables.training([run]))
    for head in result["heads"]:
        page.add(f"# {tables.head_name(head)}")
        page.add(tables.numbers(result, head), tables.by_class(run, head))
        page.add(*confusions(run, head), reliability(run, head))
    if (table := tables.proportions(result)) and (picture := proportions(run)):
        page.add("# Proportions", table, picture)
    page.add("# Training", *curves(run), pace(run))
    return page


def of_runs(several: Sequence[Run]) -> Page:
    """The page that compares runs."""
    page = Page(f"{len(several)} runs compared")
    page.add(tables.training(several), tables.comparison(several), comparison(several))
    if differences := tables.paired(several):
        page.add(differences)
    for run, called in zip(several, tables.names(several), strict=True):
        page.add(f"# {called}", tables.summary(run, tables.measured(run)), *curves(run, called))
    return page


def comparison(several: Sequence[Run]) -> Picture:
    """Claimed and measured accuracy of runs, as a figure."""
    rows = []
    for run, called in zip(several, tables.names(several), strict=True):
        values = tables.measured(run)["heads"].get("labels", {}).get("fer2013")
        if values:
            system = claims.SYSTEMS.get(run.config.model.partition("-")[0])
            found = values["accuracy"]
            rows.append((called, system and system.claimed, *found.values()))
    return Picture("comparison", "Accuracy, claimed and measured.", figures.comparison(rows))


def curves(run: Run, called: str = "") -> list[Picture]:
    """The paper's Figures 2, 3, 5, 6, 8, 9: accuracy and loss by epoch.

    called: the name of the run among others, if not its folder's.
    """
    log = run.log()
    if not log:
        return []
    claimed = claims.TRAINING.get(run.config.model.partition("-")[0], {})
    made = []
    for what, train, label in (
        ("accuracy", "accuracy", "accuracy"),
        ("loss", "label_loss", "loss"),
    ):
        said = [
            (f"{title}, as printed", claimed[key])
            for key, title in ((what, "training"), (f"val_{what}", "validation"))
            if key in claimed
        ]
        figure = figures.curves(log, train, f"val_{what}", label, said)
        name = f"{called or tables.name_of(run)}-{what}"
        made.append(Picture(name, f"{what.title()} by epoch.", figure))
    return made


def pace(run: Run) -> Picture:
    """Learning rate and time by epoch."""
    caption = "Learning rate and seconds by epoch."
    return Picture(f"{tables.name_of(run)}-pace", caption, figures.pace(run.log()))


def confusions(run: Run, head: str = "labels") -> list[Picture]:
    """The paper's Figures 4 and 7: the confusion matrix in counts, and in shares of each class."""
    values = tables.measured(run)["heads"][head][tables.SECTIONS[head]]
    matrix, labels = np.array(values["confusion"]), list(values["per_class"])
    return [
        Picture(
            f"{tables.name_of(run)}-{head}-confusion-{kind}",
            f"Confusion matrix, {kind}: truth by row, answer by column.",
            figures.confusion(matrix, labels, shares=kind == "shares"),
        )
        for kind in ("counts", "shares")
    ]


def reliability(run: Run, head: str = "labels") -> Picture:
    """How far the probability of the answer can be trusted."""
    said = runs.load_predictions(run)
    truth = said["truth"] if head == "labels" else data.majority(said["raters"])
    known = truth >= 0
    figure = figures.reliability(said[head][known], truth[known])
    caption = "How often the answer is right, by its probability, and how many faces that concerns."
    return Picture(f"{tables.name_of(run)}-{head}-reliability", caption, figure)


def proportions(run: Run) -> Picture | None:
    """Predicted shares against shares of raters, emotion by emotion."""
    said = runs.load_predictions(run)
    asked, shares = data.seven_shares(said["raters"])
    if not asked.any():
        return None
    head = "votes" if "votes" in said else "labels"
    seven = restrict_labels(said[head][asked], LABELS[head], EMOTIONS)
    caption = "On the dotted line, a predicted share is the share of raters. Larger: more faces."
    figure = figures.proportions(seven, shares, EMOTIONS)
    return Picture(f"{tables.name_of(run)}-proportions", caption, figure)
