"""Finished runs -> the tables of their pages, and a short description of the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mien.errors import UserError
from mien.lab import claims, protocols, runs, scores
from mien.lab.page import Table
from mien.lab.runs import Run

SECTIONS = {"labels": "fer2013", "votes": "ferplus_majority"}
"""Head -> the section of a result with its main scores."""

LABEL_METRICS = ("accuracy", "macro_f1", "log_loss", "brier", "calibration_error")


def load_result(run: Run) -> dict:
    """The result that `mien evaluate` saved in a run folder; `UserError` if there is none."""
    if not run.metrics_file.exists():
        raise UserError(f"{run.folder} is not evaluated yet: mien evaluate {run.folder} --data ...")
    return runs.read_json(run.metrics_file)


def run_names(all_runs: Sequence[Run]) -> list[str]:
    """A unique name for each run: its folder's name, with parent folders if needed.

    Raises `UserError` if a run is given twice.
    """
    parts = [run.folder.resolve().parts for run in all_runs]
    if len(set(parts)) < len(parts):
        raise UserError("A run is given twice; name each run folder once.")
    for depth in range(1, 1 + max(map(len, parts))):
        names = ["-".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def run_name(run: Run) -> str:
    """The name of a single run: its folder's name."""
    (name,) = run_names([run])
    return name


def summary(run: Run, result: Mapping) -> str:
    """Network, training and evaluation set of a run, in a few sentences."""
    log, about, config = run.log(), run.about, run.config
    evaluated = result["data"]
    minutes = sum(entry.get("seconds", 0) for entry in log) / 60
    network = result.get("network", {})
    size = f" ({network['parameters']:,} parameters)" if network else ""
    warnings = " ".join(protocols.warnings(result))
    return (
        f"{config.model}{size}, {len(log)} of {config.epochs} epochs in {minutes:.0f} minutes on "
        f"{about.get('machine', 'an unknown machine')}, seed {config.seed}, commit "
        f"{about.get('commit') or 'unknown'}. Protocol {result['protocol']}, split "
        f"{evaluated['split']} of {evaluated['name']}, test-time augmentation {result['tta']}. "
        f"{warnings}"
    ).strip()


def training(all_runs: Sequence[Run]) -> Table:
    """The paper's Tables I and III: final training metrics, claimed and measured."""
    rows: list[tuple] = []
    for run, name in zip(all_runs, run_names(all_runs), strict=True):
        log = run.log()
        system = run.config.model.partition("-")[0]
        if claimed := claims.CLAIMED_TRAINING.get(system):
            row = (claimed.get(key) for key in ("accuracy", "loss", "val_accuracy", "val_loss"))
            rows.append((f"{system}, claimed", claims.CLAIMED_EPOCHS[system], *row))
        if log:
            last = log[-1]
            row = (last.get(k) for k in ("accuracy", "label_loss", "val_accuracy", "val_loss"))
            rows.append((f"{name}, measured", last["epoch"], *row))
    columns = ("run", "epochs", "accuracy", "loss", "validation accuracy", "validation loss")
    caption = (
        "Accuracy and loss after the last epoch. The measured training accuracy is on augmented "
        "faces with dropout; the loss includes label smoothing where the config has it."
    )
    return Table(caption, columns, rows)


def head_scores(result: Mapping, head: str) -> Table:
    """Every label metric of a head, by kind of label, with its interval."""
    rows = [
        (section, values["faces"], metric, *values[metric].values())
        for section, values in result["heads"][head].items()
        if section not in ("proportions", "sampling_floor")
        for metric in LABEL_METRICS
        if metric in values
    ]
    columns = ("labels", "faces", "metric", "value", "low", "high")
    return Table("Metrics with their 95 % bootstrap intervals over faces.", columns, rows)


def per_class(run: Run, head: str) -> Table:
    """The paper's Tables II and IV, with specificity, measured and claimed."""
    section = load_result(run)["heads"][head][SECTIONS[head]]
    class_scores, matrix = section["per_class"], np.array(section["confusion"])
    system = run.config.model.partition("-")[0]
    claimed = claims.CLAIMED_PER_CLASS.get(system, {}) if head == "labels" else {}
    metrics = ("precision", "recall", "f1")
    rows: list[tuple] = []
    for label, row in class_scores.items():
        printed = tuple(claimed[label][m] for m in metrics) if label in claimed else ()
        values = (float(row[name]) for name in _CLASS_METRICS)
        rows.append((label, *values, int(row["support"]), *printed))
    support = np.array([row["support"] for row in class_scores.values()])
    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    for title, weights in (("macro average", occurs), ("weighted average", support)):
        means = (
            np.average([row[name] for row in class_scores.values()], weights=weights)
            for name in _CLASS_METRICS
        )
        blank = (None,) * 3 if claimed else ()
        rows.append((title, *map(float, means), int(support.sum()), *blank))
    columns = ["class", *_CLASS_METRICS, "support"]
    if claimed:
        columns += [f"{metric}, claimed" for metric in metrics]
    caption = (
        "Per class; the macro average is over the classes that occur. Recall is the share of a "
        "class that is predicted as it; what the paper's Eq. 3 calls recall is specificity."
    )
    return Table(caption, columns, rows)


_CLASS_METRICS = ("precision", "recall", "f1", "specificity")


def comparison(all_runs: Sequence[Run]) -> Table:
    """Runs side by side: accuracy on FER2013's labels, and cost."""
    rows, evaluations = [], set()
    for run, name in zip(all_runs, run_names(all_runs), strict=True):
        result = load_result(run)
        evaluations.add(_evaluation(result))
        values = result["heads"].get("labels", {}).get("fer2013")
        if values is None:
            continue
        accuracy = values["accuracy"]
        network = result.get("network", {})
        rows.append(
            (
                name, _protocol(result), run.config.seed, accuracy["value"], accuracy["low"],
                accuracy["high"], values["macro_f1"]["value"], network.get("parameters"),
                network.get("multiply_adds"),
            )
        )  # fmt: skip
    if len(evaluations) > 1:
        listed = "; ".join(
            f"split {split} of {faces}, augmentation {tta}"
            + f", {excluded} excluded" * (excluded > 0)
            for split, tta, excluded, faces in sorted(evaluations)
        )
        raise UserError(
            f"These runs were evaluated differently: {listed}. Evaluate each again: mien evaluate."
        )
    columns = ("run", "protocol", "seed", "accuracy", "low", "high", "macro F1", "parameters",
               "multiply-adds")  # fmt: skip
    return Table("Accuracy on FER2013's labels with 95 % intervals.", columns, rows)


def _evaluation(result: Mapping) -> tuple[str, str, int, str]:
    """Split, augmentation, number of excluded faces and data: equal for runs that can be compared.

    The protocols may differ; the table shows them.
    """
    data = result["data"]
    as_published = result["protocol"].startswith(("official", "as the data is split"))
    splits = [data["split"]] if as_published else sorted(data["sha256"])
    digests = " ".join(str(data["sha256"].get(split))[:12] for split in splits)
    excluded = data.get("excluded", {}).get("faces", 0)
    return data["split"], result["tta"], excluded, f"{data['name']} {digests}"


def _protocol(result: Mapping) -> str:
    """The protocol, and the fold where there is one."""
    protocol, part, *_ = protocols.evaluation_set(result)
    return f"{protocol}, {part}" if part.startswith("fold") else protocol


def paired(all_runs: Sequence[Run]) -> Table | None:
    """Each run minus the first, on the same faces; None if no other run has the same faces."""
    rows = []
    (baseline, *others), (baseline_name, *names) = all_runs, run_names(all_runs)
    expected = runs.load_predictions(baseline)
    evaluation_set = protocols.evaluation_set(load_result(baseline))
    for run, name in zip(others, names, strict=True):
        predictions = runs.load_predictions(run)
        same_faces = np.array_equal(expected["rows"], predictions["rows"])
        if same_faces and protocols.evaluation_set(load_result(run)) == evaluation_set:
            differences = scores.paired_differences(predictions, expected)
            rows += [(name, metric, *values.values()) for metric, values in differences.items()]
    caption = (
        f"Each run minus {baseline_name}, paired face by face. If the 95 % interval over faces "
        "excludes 0, the difference is not a chance of these faces; another training seed may "
        "differ by as much."
    )
    return Table(caption, ("run", "metric", "difference", "low", "high"), rows) if rows else None


def proportions(result: Mapping) -> Table | None:
    """Predicted proportions against the raters'; None without votes."""
    rows = [
        (
            head_title(head), sections["proportions"]["faces"], metric, *values.values(),
            sections.get("sampling_floor", {}).get(metric, {}).get("value"),
        )
        for head, sections in result["heads"].items()
        if "proportions" in sections
        for metric, values in sections["proportions"].items()
        if isinstance(values, dict)
    ]  # fmt: skip
    columns = ("head", "faces", "metric", "value", "low", "high", "sampling floor")
    caption = (
        "Proportions against FER+ votes. The sampling floor is the score of perfect proportions "
        "measured with as few raters."
    )
    return Table(caption, columns, rows) if rows else None


def head_title(head: str) -> str:
    """A head's name in text."""
    return {"labels": "FER2013's labels", "votes": "FER+ votes"}[head]
