"""Finished runs -> a page: what was claimed and what is measured, tables, figures, faces.

Tables and figures are made from a run's log, metrics and predictions. Only the sheets of faces
need the data, and only those that show where the network looks need the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from mien.errors import UserError
from mien.lab import (
    batches,
    claims,
    data,
    evaluate,
    explain,
    figures,
    models,
    protocols,
    runs,
    tables,
)
from mien.lab.data import Samples
from mien.lab.page import Page, Picture
from mien.lab.runs import Run
from mien.labels import EMOTIONS, fold


def of_run(run: Run, root: Path | None = None) -> Page:
    """The page of one run; with the data at `root`, with faces; a `UserError` if unmeasured."""
    result = tables.measured(run)
    page = Page(f"{run.recipe.model}, {result['protocol']}, seed {run.recipe.seed}")
    page.add(tables.summary(run, result), tables.training([run]))
    for head in result["heads"]:
        page.add(f"# {tables.head_name(head)}")
        page.add(tables.numbers(result, head), tables.by_class(run, head))
        page.add(*confusions(run, head), reliability(run, head))
    if (table := tables.proportions(result)) and (picture := proportions(run)):
        page.add("# Proportions", table, picture)
    page.add("# Training", *curves(run), pace(run))
    if root is not None:
        page.add("# Faces", *faces(run, root))
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


def name_of(run: Run) -> str:
    """What a run alone is called: as its folder."""
    (name,) = tables.names([run])
    return name


def comparison(several: Sequence[Run]) -> Picture:
    """Claimed and measured accuracy of runs, as a figure."""
    rows = []
    for run, called in zip(several, tables.names(several), strict=True):
        values = tables.measured(run)["heads"].get("labels", {}).get("fer2013")
        if values:
            system = claims.SYSTEMS.get(run.recipe.model.partition("-")[0])
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
    claimed = claims.TRAINING.get(run.recipe.model.partition("-")[0], {})
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
        name = f"{called or name_of(run)}-{what}"
        made.append(Picture(name, f"{what.title()} by epoch.", figure))
    return made


def pace(run: Run) -> Picture:
    """Learning rate and time by epoch."""
    caption = "Learning rate and seconds by epoch."
    return Picture(f"{name_of(run)}-pace", caption, figures.pace(run.log()))


def confusions(run: Run, head: str = "labels") -> list[Picture]:
    """The paper's Figures 4 and 7: the confusion matrix in counts, and in shares of each class."""
    values = tables.measured(run)["heads"][head][tables.SECTIONS[head]]
    matrix, labels = np.array(values["confusion"]), list(values["per_class"])
    return [
        Picture(
            f"{name_of(run)}-{head}-confusion-{kind}",
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
    return Picture(f"{name_of(run)}-{head}-reliability", caption, figure)


def proportions(run: Run) -> Picture | None:
    """Predicted shares against shares of raters, emotion by emotion."""
    said = runs.load_predictions(run)
    asked, shares = data.seven_shares(said["raters"])
    if not asked.any():
        return None
    head = "votes" if "votes" in said else "labels"
    seven = fold(said[head][asked], models.LABELS[head], EMOTIONS)
    caption = "On the dotted line, a predicted share is the share of raters. Larger: more faces."
    figure = figures.proportions(seven, shares, EMOTIONS)
    return Picture(f"{name_of(run)}-proportions", caption, figure)


def faces(run: Run, root: Path, count: int = 14) -> list[Picture]:
    """Sheets of faces: the most confident mistakes, and where the network looks.

    Raises `UserError` if the predictions in the run folder are of other faces than `root`'s.
    """
    said, recipe = runs.load_predictions(run), run.recipe
    splits = protocols.divide(data.load(root), recipe)
    samples = data.split(splits, tables.measured(run)["data"]["split"])
    samples = samples.take(np.isin(samples.rows, said["rows"]))  # some may have been left out
    ours, theirs = (samples.rows, samples.labels), (said["rows"], said["truth"])
    if not all(map(np.array_equal, ours, theirs)):
        raise UserError(f"The predictions in {run.folder} are of other data than {root}.")
    head = "labels" if "labels" in said else "votes"
    return [mistakes(run, samples, said[head], head, count), *looks(run, samples, said[head], head)]


def mistakes(run: Run, samples: Samples, shares: np.ndarray, head: str, count: int = 14) -> Picture:
    """The most confident mistakes of a head; shares: (N, K), what it said of each face."""
    labels, guess, sure = models.LABELS[head], shares.argmax(1), shares.max(1)
    truth = samples.labels if head == "labels" else data.majority(samples.votes)
    wrong = np.flatnonzero((guess != truth) & (truth >= 0))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    captions = [f"{labels[guess[k]]} {sure[k]:.2f}\n({labels[truth[k]]})" for k in worst]
    return Picture(
        f"{name_of(run)}-mistakes",
        "The most confident mistakes: the answer with its probability, and (the label).",
        figures.sheet(samples.faces[worst], captions),
    )


def looks(run: Run, samples: Samples, shares: np.ndarray, head: str) -> list[Picture]:
    """Where the network looks: Grad-CAM for its answer and, if it has any, spatial attention."""
    recipe, shown, guess = run.recipe, examples(samples), shares.argmax(1)
    faces, model = samples.faces[shown], evaluate.restore(run)
    side = tables.measured(run)["window"]  # with which it gave the answers
    window = {"side": side, "channels": recipe.channels}
    maps = {
        "grad-cam": (
            "What speaks for the answer (Grad-CAM), brightest most.",
            explain.grad_cam(model, faces, guess[shown] + models.HEADS[head].start, **window),
        )
    }
    for k, layer in enumerate(explain.attention(model, faces, **window), 1):
        maps[f"attention-{k}"] = f"Spatial attention, layer {k}, brightest most.", layer
    captions = [f"{models.LABELS[head][guess[k]]}\n({EMOTIONS[samples.labels[k]]})" for k in shown]
    part = batches.window(torch.as_tensor(faces[:, None]), side)[:, 0].numpy()
    return [
        Picture(
            f"{name_of(run)}-{kind}",
            f"{caption} Answer, (label).",
            figures.sheet(figures.overlaid(part, found), captions),
        )
        for kind, (caption, found) in maps.items()
    ]


def examples(samples: Samples, each: int = 2) -> np.ndarray:
    """Places of the first faces of each emotion, one of each in turn: (7 * each,) or fewer."""
    first = [np.flatnonzero(samples.labels == k)[:each] for k in range(len(EMOTIONS))]
    return np.array([k for row in zip_longest(*first) for k in row if k is not None], int)


def sample_sheet(samples: Samples, each: int = 3) -> Picture:
    """The paper's Figure 1: some faces of each emotion, with their labels."""
    shown = examples(samples, each)
    figure = figures.sheet(samples.faces[shown], [EMOTIONS[k] for k in samples.labels[shown]])
    return Picture("faces", "Faces with their labels.", figure)
