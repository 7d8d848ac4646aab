"""Build the tables of reports, and the short description of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mien.errors import UserError
from mien.lab import claims, protocols, runs, scores
from mien.lab.file_checks import SHARE_SECTIONS
from mien.lab.page import Table
from mien.lab.runs import Run

SECTIONS = {"labels": "fer2013", "votes": "ferplus_majority"}
"""Head -> section of a result with the main scores of the head."""

LABEL_METRICS = ("accuracy", "macro_f1", "log_loss", "brier", "calibration_error")
"""Metrics that compare predictions with labels, not with vote shares; each has an interval."""

CLASS_METRICS = ("precision", "recall", "f1", "specificity")
"""Metrics of each class in `per_class`."""

CLAIMED_CLASS_METRICS = ("precision", "recall", "f1")
"""Metrics of each class that the paper reports."""


def run_names(all_runs: Sequence[Run]) -> list[str]:
    """Return a unique name for each run: its folder name, preceded by parent folders if needed.

    Raises:
        UserError: A run occurs twice.
    """
    parts = [run.folder.resolve().parts for run in all_runs]
    if len(set(parts)) < len(parts):
        raise UserError("A run is given twice; name each run folder once.")
    for depth in range(1, 1 + max(map(len, parts))):
        names = ["-".join(run_parts[-depth:]) for run_parts in parts]
        if len(set(names)) == len(names):
            break
    return names


def run_name(run: Run) -> str:
    """Return the folder name of a run."""
    (name,) = run_names([run])
    return name


def summary(run: Run, result: Mapping) -> str:
    """Describe the network, training and evaluation set of a run in a few sentences."""
    log, about, config = run.log(), run.about, run.config
    evaluated = result["data"]
    minutes = sum(entry.get("seconds", 0) for entry in log) / 60
    network = result.get("network", {})
    parameters = f" ({network['parameters']:,} parameters)" if network else ""
    warnings = " ".join(protocols.warnings(result))
    return (
        f"{config.model}{parameters}, {len(log)} of {config.epochs} epochs in {minutes:.0f} "
        f"minutes on {about.get('machine', 'an unknown machine')}, seed {config.seed}, commit "
        f"{about.get('commit') or 'unknown'}. Protocol {result['protocol']}, split "
        f"{evaluated['split']} of {evaluated['name']}, test-time augmentation {result['tta']}. "
        f"{warnings}"
    ).strip()


def training(all_runs: Sequence[Run]) -> Table:
    """Build the table of metrics after the last epoch, as in Tables I and III of the paper.

    The numbers that the paper claims for a system precede the first run of the system.
    """
    rows: list[tuple] = []
    listed_claims: set[str] = set()
    for run, name in zip(all_runs, run_names(all_runs), strict=True):
        system = run.config.model_family
        claimed = claims.CLAIMED_TRAINING.get(system)
        if claimed and system not in listed_claims:
            listed_claims.add(system)
            keys = ("accuracy", "loss", "val_accuracy", "val_loss")
            values = [claimed.get(key) for key in keys]
            rows.append((f"{system}, claimed", claims.CLAIMED_EPOCHS[system], *values))
        if log := run.log():
            keys = ("accuracy", "label_loss", "val_accuracy", "val_loss")
            values = [log[-1].get(key) for key in keys]
            rows.append((f"{name}, measured", log[-1]["epoch"], *values))
    columns = ("run", "epochs", "accuracy", "loss", "validation accuracy", "validation loss")
    caption = (
        "Accuracy and loss after the last epoch. The measured training accuracy and training loss "
        "are those on augmented faces with dropout. The training loss includes label smoothing if "
        "the config has it."
    )
    return Table(caption, columns, rows)


def head_scores(result: Mapping, head: str) -> Table:
    """Build the table of a head's classification metrics, not its share metrics, with intervals."""
    rows = [
        (section, values["faces"], metric, *_value_and_interval(values[metric]))
        for section, values in result["heads"][head].items()
        if section not in SHARE_SECTIONS
        for metric in LABEL_METRICS
        if metric in values
    ]
    columns = ("labels", "faces", "metric", "value", "low", "high")
    return Table("Metrics with their 95 % bootstrap intervals over faces.", columns, rows)


def per_class(run: Run, head: str) -> Table:
    """Build the table of measured and claimed scores per class, as in Tables II and IV."""
    section = run.result()["heads"][head][SECTIONS[head]]
    class_scores, matrix = section["per_class"], np.array(section["confusion"])
    system = run.config.model_family
    claimed = claims.CLAIMED_PER_CLASS.get(system, {}) if head == "labels" else {}
    rows: list[tuple] = []
    for label, row in class_scores.items():
        claimed_values = (
            [claimed[label][name] for name in CLAIMED_CLASS_METRICS] if label in claimed else []
        )
        values = (float(row[name]) for name in CLASS_METRICS)
        rows.append((label, *values, int(row["support"]), *claimed_values))
    support = np.array([row["support"] for row in class_scores.values()])
    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    for title, weights in (("macro average", occurs), ("weighted average", support)):
        means = (
            np.average([row[name] for row in class_scores.values()], weights=weights)
            for name in CLASS_METRICS
        )
        no_claims = (None,) * len(CLAIMED_CLASS_METRICS) if claimed else ()
        rows.append((title, *map(float, means), int(support.sum()), *no_claims))
    columns = ["class", *CLASS_METRICS, "support"]
    if claimed:
        columns += [f"{name}, claimed" for name in CLAIMED_CLASS_METRICS]
    caption = (
        "Scores per class. The macro average is over the classes that occur among the true or the "
        "predicted labels. Recall is the fraction of the faces of a class that are predicted "
        "correctly. Equation 3 of the paper is labeled recall but defines specificity."
    )
    return Table(caption, columns, rows)


def comparison(all_runs: Sequence[Run]) -> Table:
    """Build the table that compares runs by their accuracy on FER2013's labels and their cost.

    Runs without a score on FER2013's labels are omitted.

    Raises:
        UserError: A run occurs twice or is not evaluated, or the runs were evaluated on different
            data or splits, or with different options.
    """
    rows, evaluations = [], set()
    for run, name in zip(all_runs, run_names(all_runs), strict=True):
        result = run.result()
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
        descriptions = "; ".join(
            f"split {split} of {dataset}, test-time augmentation {tta}, {excluded} faces excluded"
            for split, tta, excluded, dataset in sorted(evaluations)
        )
        raise UserError(
            f"These runs were evaluated differently: {descriptions}. Compare runs on the same data "
            "and splits, evaluated with the same options of mien evaluate."
        )
    columns = ("run", "protocol", "seed", "accuracy", "low", "high", "macro F1", "parameters",
               "multiply-adds")  # fmt: skip
    return Table("Accuracy on FER2013's labels with 95 % intervals.", columns, rows)


def _evaluation(result: Mapping) -> tuple[str, str, int, str]:
    """Return split, test-time augmentation, number of excluded faces and dataset of an evaluation.

    Runs can be compared if these are equal. Runs with protocols that split the dataset anew can be
    compared with each other, but not with runs on the dataset's own splits; the table shows the
    protocol.
    """
    data = result["data"]
    uses_dataset_splits = result["protocol"].startswith(("official", "as the data is split"))
    # With other protocols, the evaluated faces can come from several splits.
    splits = [data["split"]] if uses_dataset_splits else sorted(data["sha256"])
    digests = " ".join(str(data["sha256"].get(split))[:12] for split in splits)
    excluded = data.get("excluded", {}).get("faces", 0)
    return data["split"], result["tta"], excluded, f"{data['name']} {digests}"


def _protocol(result: Mapping) -> str:
    """Return the protocol of a result, and its fold if it has one."""
    protocol, *details = protocols.evaluation_set(result)
    folds = [detail for detail in details if detail.startswith("fold")]
    return ", ".join([protocol, *folds])


def paired(all_runs: Sequence[Run]) -> Table | None:
    """Build the table of differences to the first run, for runs with the same evaluation set.

    Returns:
        The table, or None if no other run has the same evaluation set.
    """
    rows = []
    baseline, *others = all_runs
    baseline_name, *names = run_names(all_runs)
    baseline_predictions = runs.load_predictions(baseline)
    evaluation_set = protocols.evaluation_set(baseline.result())
    for run, name in zip(others, names, strict=True):
        predictions = runs.load_predictions(run)
        same_faces = np.array_equal(baseline_predictions["rows"], predictions["rows"])
        if same_faces and protocols.evaluation_set(run.result()) == evaluation_set:
            differences = scores.paired_differences(predictions, baseline_predictions)
            rows += [
                (name, metric, *_value_and_interval(difference))
                for metric, difference in differences.items()
            ]
    caption = (
        f"Each metric minus that of {baseline_name}, paired by face. If the 95 % interval over "
        "faces excludes 0, the difference is significant for these two runs. Two runs "
        "that differ only in the training seed can also differ significantly in this sense."
    )
    return Table(caption, ("run", "metric", "difference", "low", "high"), rows) if rows else None


def proportions(result: Mapping) -> Table | None:
    """Build the table of the scores of predicted shares; None without votes."""
    rows = [
        (
            head_title(head), sections["proportions"]["faces"], metric,
            *_value_and_interval(values),
            sections.get("sampling_floor", {}).get(metric, {}).get("value"),
        )
        for head, sections in result["heads"].items()
        if "proportions" in sections
        for metric, values in sections["proportions"].items()
        if isinstance(values, dict)
    ]  # fmt: skip
    columns = ("head", "faces", "metric", "value", "low", "high", "sampling floor")
    caption = (
        "Scores of predicted shares against FER+ votes. The sampling floor is the score of the "
        "same shares against votes that are drawn from them, as many per face as in FER+."
    )
    return Table(caption, columns, rows) if rows else None


def _value_and_interval(score: Mapping[str, float]) -> tuple[float, float, float]:
    return score["value"], score["low"], score["high"]


def head_title(head: str) -> str:
    """Return the name of a head for titles."""
    return {"labels": "FER2013's labels", "votes": "FER+ votes"}[head]
