"""Finished runs -> a page: what was claimed and what is measured, tables, figures, faces.

Tables and figures are made from a run's log, metrics and predictions. Only the sheets of faces
need the data, and only those that show where the network looks need the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mien.errors import UserError
from mien.lab import batches, claims, data, evaluate, explain, figures, models, protocols, runs
from mien.lab.data import Samples
from mien.lab.page import Page, Picture, Table
from mien.lab.runs import Run
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, fold

LABELS = {"labels": EMOTIONS, "votes": EMOTIONS_AND_CONTEMPT}

SECTIONS = {"labels": "fer2013", "votes": "ferplus_majority"}
"""Which section of a result each head is judged by."""

NUMBERS = ("accuracy", "macro_f1", "log_loss", "brier", "calibration_error")


def of_run(run: Run, root: Path | None = None) -> Page:
    """The page of one run; with the data at `root`, with faces; a `UserError` if unmeasured."""
    result = measured(run)
    page = Page(f"{run.recipe.model}, {result['protocol']}, seed {run.recipe.seed}")
    page.add(summary(run, result), training_table([run]))
    for head in result["heads"]:
        page.add(f"# {_head(head)}")
        page.add(numbers_table(result, head), class_table(run, head))
        page.add(*confusions(run, head), reliability(run, head))
    if (table := proportions_table(result)) and (picture := proportions(run)):
        page.add("# Proportions", table, picture)
    page.add("# Training", *curves(run), pace(run))
    if root is not None:
        page.add("# Faces", *faces(run, root))
    return page


def of_runs(several: Sequence[Run]) -> Page:
    """The page that compares runs."""
    page = Page(f"{len(several)} runs compared")
    page.add(training_table(several), comparison_table(several), comparison(several))
    for run in several:
        page.add(f"# {name(run)}", summary(run, measured(run)), *curves(run))
    return page


def measured(run: Run) -> dict:
    """The result that `mien evaluate` left in a run folder; a `UserError` if it has not been."""
    if not run.metrics_file.exists():
        raise UserError(f"{run.folder} is not measured yet: mien evaluate {run.folder} --data ...")
    return runs.read_json(run.metrics_file)


def name(run: Run) -> str:
    """What a run is called in a table: its folder's name."""
    return run.folder.resolve().name


def summary(run: Run, result: Mapping) -> str:
    """In a few sentences, what was trained, on what, for how long, and what judged it."""
    log, about, recipe = run.log(), run.about, run.recipe
    judged = result["data"]
    minutes = sum(entry.get("seconds", 0) for entry in log) / 60
    network = result.get("network", {})
    size = f" ({network['parameters']:,} parameters)" if network else ""
    warning = (
        " This protocol is broken on purpose: its numbers say nothing about new faces."
        if recipe.protocol.startswith("leaky")
        else ""
    )
    return (
        f"{recipe.model}{size}, {len(log)} of {recipe.epochs} epochs in {minutes:.0f} minutes on "
        f"{about.get('machine', 'a machine unknown')}, seed {recipe.seed}, commit "
        f"{about.get('commit') or 'unknown'}. Protocol {result['protocol']}, split "
        f"{judged['split']} of {judged['name']}, views {result['views']}.{warning}"
    )


def training_table(several: Sequence[Run]) -> Table:
    """The paper's Tables I and III: accuracy and loss at the end of training, claimed and here."""
    rows: list[tuple] = []
    for run in several:
        log = run.log()
        system = run.recipe.model.partition("-")[0]
        if claimed := claims.TRAINING.get(system):
            row = (claimed.get(key) for key in ("accuracy", "loss", "val_accuracy", "val_loss"))
            rows.append((f"{system}, as printed", claims.EPOCHS[system], *row))
        if log:
            last = log[-1]
            row = (last.get(k) for k in ("accuracy", "label_loss", "val_accuracy", "val_loss"))
            rows.append((f"{name(run)}, here", last["epoch"], *row))
    columns = ("run", "epochs", "accuracy", "loss", "validation accuracy", "validation loss")
    caption = (
        "Accuracy and loss after the last epoch. Training accuracy is here measured on augmented "
        "faces with dropout, and loss includes label smoothing where the recipe has it."
    )
    return Table(caption, columns, rows)


def numbers_table(result: Mapping, head: str) -> Table:
    """Every number of a head, by what it is judged against, with its interval."""
    rows = [
        (section, values["faces"], number, *values[number].values())
        for section, values in result["heads"][head].items()
        for number in NUMBERS
        if number in values
    ]
    columns = ("judged against", "faces", "number", "value", "low", "high")
    return Table("With the 95 % bootstrap interval over faces.", columns, rows)


def class_table(run: Run, head: str) -> Table:
    """The paper's Tables II and IV, with specificity, beside what the paper prints."""
    scores = measured(run)["heads"][head][SECTIONS[head]]["per_class"]
    system = run.recipe.model.partition("-")[0]
    printed = claims.PER_CLASS.get(system, {}) if head == "labels" else {}
    numbers = ("precision", "recall", "f1")
    rows: list[tuple] = []
    for label, row in scores.items():
        claimed = printed.get(label)
        theirs = tuple(claimed[n] for n in numbers) if claimed else ()
        rows.append((label, *_cells(row), int(row["support"]), *theirs))
    support = np.array([row["support"] for row in scores.values()])
    for title, weights in (("macro average", np.ones(len(scores))), ("weighted average", support)):
        means = (np.average([r[n] for r in scores.values()], weights=weights) for n in _SCORES)
        blank = (None,) * 3 if printed else ()
        rows.append((title, *map(float, means), int(support.sum()), *blank))
    columns = ["class", *_SCORES, "support"]
    if printed:
        columns += [f"{n}, as printed" for n in numbers]
    caption = (
        "By class. Recall is the share of a class that is found; the paper's Eq. 3 by that name is "
        "specificity, the share of all others that is rightly not taken for it."
    )
    return Table(caption, columns, rows)


_SCORES = ("precision", "recall", "f1", "specificity")


def _cells(row: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(float(row[name]) for name in _SCORES)


def comparison_table(several: Sequence[Run]) -> Table:
    """Runs side by side: what each reaches on FER2013's labels, and what it costs."""
    rows = []
    for run in several:
        result = measured(run)
        values = result["heads"].get("labels", {}).get("fer2013")
        if values is None:
            continue
        accuracy = values["accuracy"]
        network = result.get("network", {})
        rows.append(
            (
                name(run), result["protocol"], run.recipe.seed, accuracy["value"], accuracy["low"],
                accuracy["high"], values["macro_f1"]["value"], network.get("parameters"),
                network.get("multiply_adds"),
            )
        )  # fmt: skip
    columns = ("run", "protocol", "seed", "accuracy", "low", "high", "macro F1", "parameters",
               "multiply-adds")  # fmt: skip
    return Table("Accuracy on FER2013's labels with its 95 % interval.", columns, rows)


def comparison(several: Sequence[Run]) -> Picture:
    """Claimed and measured accuracy of runs, as a figure."""
    rows = []
    for run in several:
        values = measured(run)["heads"].get("labels", {}).get("fer2013")
        if values:
            claimed = claims.TRAINING.get(run.recipe.model.partition("-")[0], {})
            found = values["accuracy"]
            rows.append(
                (name(run), claimed.get("val_accuracy"), found["value"], found["low"],
                 found["high"])
            )  # fmt: skip
    return Picture("comparison", "Accuracy, claimed and measured.", figures.comparison(rows))


def curves(run: Run) -> list[Picture]:
    """The paper's Figures 2, 3, 5, 6, 8, 9: accuracy and loss by epoch."""
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
        made.append(Picture(f"{name(run)}-{what}", f"{what.title()} by epoch.", figure))
    return made


def pace(run: Run) -> Picture:
    """Learning rate and time by epoch."""
    caption = "Learning rate and seconds by epoch."
    return Picture(f"{name(run)}-pace", caption, figures.pace(run.log()))


def confusions(run: Run, head: str = "labels") -> list[Picture]:
    """The paper's Figures 4 and 7: the confusion matrix in counts, and in shares of each class."""
    values = measured(run)["heads"][head][SECTIONS[head]]
    matrix, labels = np.array(values["confusion"]), list(values["per_class"])
    return [
        Picture(
            f"{name(run)}-{head}-confusion-{kind}",
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
    return Picture(f"{name(run)}-{head}-reliability", caption, figure)


def proportions_table(result: Mapping) -> Table | None:
    """How near predicted proportions come to the raters', if there were votes to compare with."""
    rows = [
        (_head(head), sections["proportions"]["faces"], number, *values.values())
        for head, sections in result["heads"].items()
        if "proportions" in sections
        for number, values in sections["proportions"].items()
        if isinstance(values, dict)
    ]
    columns = ("head", "faces", "number", "value", "low", "high")
    return Table("Proportions against FER+ votes.", columns, rows) if rows else None


def proportions(run: Run) -> Picture | None:
    """Predicted shares against shares of raters, emotion by emotion."""
    said = runs.load_predictions(run)
    asked, shares = data.seven_shares(said["raters"])
    if not asked.any():
        return None
    head = "votes" if "votes" in said else "labels"
    seven = fold(said[head][asked], LABELS[head], EMOTIONS)
    caption = "On the dotted line, a predicted share is the share of raters. Larger: more faces."
    figure = figures.proportions(seven, shares, EMOTIONS)
    return Picture(f"{name(run)}-proportions", caption, figure)


def faces(run: Run, root: Path, count: int = 14) -> list[Picture]:
    """Sheets of faces: the most confident mistakes, and where the network looks."""
    said, recipe = runs.load_predictions(run), run.recipe
    splits = protocols.divide(data.load(root), recipe)
    samples = data.split(splits, measured(run)["data"]["split"])
    if not np.array_equal(samples.rows, said["rows"]):
        raise UserError(f"The predictions in {run.folder} are of other data than {root}.")
    head = "labels" if "labels" in said else "votes"
    labels, guess, sure = LABELS[head], said[head].argmax(1), said[head].max(1)
    truth = samples.labels if head == "labels" else data.majority(samples.votes)
    wrong = np.flatnonzero((guess != truth) & (truth >= 0))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    captions = [f"{labels[guess[k]]} {sure[k]:.2f}\n({labels[truth[k]]})" for k in worst]
    made = [
        Picture(
            f"{name(run)}-mistakes",
            "The most confident mistakes: the answer with its probability, and (the label).",
            figures.sheet(samples.faces[worst], captions),
        )
    ]
    shown = examples(samples)
    model = evaluate.restore(run)
    window = {"side": recipe.side, "channels": recipe.channels}
    asked = guess[shown] + models.HEADS[head].start
    maps = {"grad-cam": explain.grad_cam(model, samples.faces[shown], asked, **window)}
    layers = explain.attention(model, samples.faces[shown], **window)
    maps |= {f"attention-{k + 1}": layer for k, layer in enumerate(layers)}
    captions = [f"{labels[guess[k]]}\n({EMOTIONS[samples.labels[k]]})" for k in shown]
    seen_part = batches.window(torch.as_tensor(samples.faces[shown, None]), recipe.side)[
        :, 0
    ].numpy()
    for kind, found in maps.items():
        seen = figures.overlaid(seen_part, found)
        caption = {"grad-cam": "What speaks for the answer (Grad-CAM), brightest most."}.get(
            kind, f"Spatial attention, layer {kind.rpartition('-')[2]}, brightest most."
        )
        figure = figures.sheet(seen, captions)
        made.append(Picture(f"{name(run)}-{kind}", f"{caption} Answer, (label).", figure))
    return made


def examples(samples: Samples, each: int = 2) -> np.ndarray:
    """Places of the first faces of each emotion, emotion by emotion: (7 * each,) or fewer."""
    first = [np.flatnonzero(samples.labels == k)[:each] for k in range(len(EMOTIONS))]
    return (
        np.stack(first).T.ravel() if all(len(f) == each for f in first) else np.concatenate(first)
    )


def sample_sheet(samples: Samples, each: int = 3) -> Picture:
    """The paper's Figure 1: some faces of each emotion, with their labels."""
    shown = examples(samples, each)
    figure = figures.sheet(samples.faces[shown], [EMOTIONS[k] for k in samples.labels[shown]])
    return Picture("faces", "Faces of FER2013 with their labels.", figure)


def _head(head: str) -> str:
    return {"labels": "FER2013's labels", "votes": "FER+ votes"}[head]
