"""Finished runs -> the tables of their pages, and a few sentences of what was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mien.errors import UserError
from mien.lab import claims, protocols, runs, scores
from mien.lab.page import Table
from mien.lab.runs import Run

SECTIONS = {"labels": "fer2013", "votes": "ferplus_majority"}
"""Which section of a result each head is judged by."""

NUMBERS = ("accuracy", "macro_f1", "log_loss", "brier", "calibration_error")


def measured(run: Run) -> dict:
    """The result that `mien evaluate` left in a run folder; a `UserError` if it has not been."""
    if not run.metrics_file.exists():
        raise UserError(f"{run.folder} is not measured yet: mien evaluate {run.folder} --data ...")
    return runs.read_json(run.metrics_file)


def names(several: Sequence[Run]) -> list[str]:
    """What runs are called: their folders' names, with as many of the parents' as tell them apart.

    Raises `UserError` for a run that is given twice.
    """
    parts = [run.folder.resolve().parts for run in several]
    if len(set(parts)) < len(parts):
        raise UserError("A run was given twice.")
    for deep in range(1, 1 + max(map(len, parts))):
        found = ["-".join(one[-deep:]) for one in parts]
        if len(set(found)) == len(found):
            break
    return found


def name_of(run: Run) -> str:
    """What a run alone is called: as its folder."""
    (name,) = names([run])
    return name


def summary(run: Run, result: Mapping) -> str:
    """In a few sentences, what was trained, on what, for how long, and what judged it."""
    log, about, config = run.log(), run.about, run.config
    judged = result["data"]
    minutes = sum(entry.get("seconds", 0) for entry in log) / 60
    network = result.get("network", {})
    size = f" ({network['parameters']:,} parameters)" if network else ""
    notes = " ".join(protocols.cautions(result))
    return (
        f"{config.model}{size}, {len(log)} of {config.epochs} epochs in {minutes:.0f} minutes on "
        f"{about.get('machine', 'a machine unknown')}, seed {config.seed}, commit "
        f"{about.get('commit') or 'unknown'}. Protocol {result['protocol']}, split "
        f"{judged['split']} of {judged['name']}, views {result['views']}. {notes}"
    ).strip()


def training(several: Sequence[Run]) -> Table:
    """The paper's Tables I and III: accuracy and loss at the end of training, claimed and here."""
    rows: list[tuple] = []
    for run, called in zip(several, names(several), strict=True):
        log = run.log()
        system = run.config.model.partition("-")[0]
        if claimed := claims.TRAINING.get(system):
            row = (claimed.get(key) for key in ("accuracy", "loss", "val_accuracy", "val_loss"))
            rows.append((f"{system}, as printed", claims.EPOCHS[system], *row))
        if log:
            last = log[-1]
            row = (last.get(k) for k in ("accuracy", "label_loss", "val_accuracy", "val_loss"))
            rows.append((f"{called}, here", last["epoch"], *row))
    columns = ("run", "epochs", "accuracy", "loss", "validation accuracy", "validation loss")
    caption = (
        "Accuracy and loss after the last epoch. Training accuracy is here measured on augmented "
        "faces with dropout, and loss includes label smoothing where the recipe has it."
    )
    return Table(caption, columns, rows)


def numbers(result: Mapping, head: str) -> Table:
    """Every number of a head, by what it is judged against, with its interval."""
    rows = [
        (section, values["faces"], number, *values[number].values())
        for section, values in result["heads"][head].items()
        if not section.startswith("proportions")
        for number in NUMBERS
        if number in values
    ]
    columns = ("judged against", "faces", "number", "value", "low", "high")
    return Table("With the 95 % bootstrap interval over faces.", columns, rows)


def by_class(run: Run, head: str) -> Table:
    """The paper's Tables II and IV, with specificity, beside what the paper prints."""
    section = measured(run)["heads"][head][SECTIONS[head]]
    scores, matrix = section["per_class"], np.array(section["confusion"])
    system = run.config.model.partition("-")[0]
    printed = claims.PER_CLASS.get(system, {}) if head == "labels" else {}
    numbers = ("precision", "recall", "f1")
    rows: list[tuple] = []
    for label, row in scores.items():
        claimed = printed.get(label)
        theirs = tuple(claimed[n] for n in numbers) if claimed else ()
        rows.append((label, *_cells(row), int(row["support"]), *theirs))
    support = np.array([row["support"] for row in scores.values()])
    occur = (matrix.sum(0) + matrix.sum(1)) > 0
    for title, weights in (("macro average", occur), ("weighted average", support)):
        means = (np.average([r[n] for r in scores.values()], weights=weights) for n in _SCORES)
        blank = (None,) * 3 if printed else ()
        rows.append((title, *map(float, means), int(support.sum()), *blank))
    columns = ["class", *_SCORES, "support"]
    if printed:
        columns += [f"{n}, as printed" for n in numbers]
    caption = (
        "By class; the macro average is of the classes that occur. Recall is the share of a class "
        "that is found; the paper's Eq. 3 by that name is specificity, the share of all others "
        "that is rightly not taken for it."
    )
    return Table(caption, columns, rows)


_SCORES = ("precision", "recall", "f1", "specificity")


def _cells(row: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(float(row[name]) for name in _SCORES)


def comparison(several: Sequence[Run]) -> Table:
    """Runs side by side: what each reaches on FER2013's labels, and what it costs."""
    rows, judges = [], set()
    for run, called in zip(several, names(several), strict=True):
        result = measured(run)
        judges.add(_judge(result))
        values = result["heads"].get("labels", {}).get("fer2013")
        if values is None:
            continue
        accuracy = values["accuracy"]
        network = result.get("network", {})
        rows.append(
            (
                called, _division(result), run.config.seed, accuracy["value"], accuracy["low"],
                accuracy["high"], values["macro_f1"]["value"], network.get("parameters"),
                network.get("multiply_adds"),
            )
        )  # fmt: skip
    if len(judges) > 1:
        shown = "; ".join(
            f"split {split} of {faces}, views {views}" + f", {left} left out" * bool(left)
            for split, views, left, faces in sorted(judges)
        )
        raise UserError(f"These runs were not measured alike: {shown}; mien evaluate each again.")
    columns = ("run", "protocol", "seed", "accuracy", "low", "high", "macro F1", "parameters",
               "multiply-adds")  # fmt: skip
    return Table("Accuracy on FER2013's labels with its 95 % interval.", columns, rows)


def _judge(result: Mapping) -> tuple[str, str, int, str]:
    """Split, views, how many faces were left out, and of which data: alike in runs to compare.

    How those faces were divided may differ, and stands in the table.
    """
    data = result["data"]
    as_it_came = result["protocol"].startswith(("official", "as the data is split"))
    asked = [data["split"]] if as_it_came else sorted(data["sha256"])
    faces = " ".join(str(data["sha256"].get(split))[:12] for split in asked)
    left = data.get("left_out", {}).get("faces", 0)
    return data["split"], result["views"], left, f"{data['name']} {faces}"


def _division(result: Mapping) -> str:
    """The protocol, and the fold where there is one."""
    protocol, part, *_ = protocols.judge(result)
    return f"{protocol}, {part}" if part.startswith("fold") else protocol


def paired(several: Sequence[Run]) -> Table | None:
    """Each run less the first on the same faces; None if no other was judged by those."""
    rows = []
    (first, *others), (name, *called) = several, names(several)
    said, judge = runs.load_predictions(first), protocols.judge(measured(first))
    for run, its_name in zip(others, called, strict=True):
        other = runs.load_predictions(run)
        if protocols.judge(measured(run)) == judge and np.array_equal(said["rows"], other["rows"]):
            found = scores.paired(other, said)
            rows += [(its_name, number, *values.values()) for number, values in found.items()]
    caption = (
        f"Each less {name}, face by face. An interval (95 %, over faces) without 0 is more than "
        "chance makes of these faces; another seed may differ by as much."
    )
    return Table(caption, ("run", "number", "difference", "low", "high"), rows) if rows else None


def proportions(result: Mapping) -> Table | None:
    """How near predicted proportions come to the raters', if there were votes to compare with."""
    rows = [
        (
            head_name(head), sections["proportions"]["faces"], number, *values.values(),
            sections.get("proportions_by_chance", {}).get(number, {}).get("value"),
        )
        for head, sections in result["heads"].items()
        if "proportions" in sections
        for number, values in sections["proportions"].items()
        if isinstance(values, dict)
    ]  # fmt: skip
    columns = ("head", "faces", "number", "value", "low", "high", "perfect")
    caption = (
        "Proportions against FER+ votes. Perfect: what these same proportions would be measured at "
        "by so few raters, were they exactly true."
    )
    return Table(caption, columns, rows) if rows else None


def head_name(head: str) -> str:
    """What a head answers to, in words."""
    return {"labels": "FER2013's labels", "votes": "FER+ votes"}[head]
