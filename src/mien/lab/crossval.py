"""Cross-validation: one training per fold."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import data, protocols, runs, scores
from mien.lab.config import Config
from mien.lab.experiments import RunProgress, describe_experiment, mean_and_sd, metrics_of, run_all
from mien.lab.runs import Run


def crossval(base: Config, root: Path, out: Path, on_progress: RunProgress) -> dict:
    """Train once per fold of the config's protocol, and evaluate on the held-out folds.

    The result is also written to `out/crossval.json`, and the fold of each face to
    `out/folds.csv`.

    Args:
        base: Config of all trainings; its fold is ignored.
        root: Path of the dataset.
        out: Parent of the run folders.
        on_progress: Called with the name and config of each training; returns its progress
            callback.

    Returns:
        A description of the experiment; `folds`, the metrics of each fold; `fold_statistics`, their
        mean and sample standard deviation; and `pooled`, the result of `scores.label_scores` for
        the held-out faces of all folds together. Unlike in `mien evaluate`, its bootstrap intervals
        resample duplicates independently.

    Raises:
        UserError: The protocol has no folds, or a training fails.
        runs.RunLocked: Other processes are training some folds.
    """
    if "kfold" not in base.protocol:
        choices = ", ".join(name for name in protocols.PROTOCOLS if "kfold" in name)
        raise UserError(f"Protocol {base.protocol} has no folds. Use one of {choices}.")
    configs = {f"fold-{k}": replace(base, fold=k) for k in range(base.folds)}
    is_leaky = base.protocol == "leaky-kfold"
    if is_leaky:  # each fold starts from the weights of the previous one
        for k in range(1, base.folds):
            previous = (out / f"fold-{k - 1}").resolve()
            configs[f"fold-{k}"] = replace(configs[f"fold-{k}"], init_from=str(previous))
    results = run_all(configs, root, out, on_progress, sequential=is_leaky)
    _write_folds(out / "folds.csv", base, root)
    result = describe_experiment(base, results) | {
        "kind": "crossval",
        "protocol": base.protocol,
        "folds": {name: metrics_of(fold) for name, fold in results.items()},
        "fold_statistics": mean_and_sd([metrics_of(fold) for fold in results.values()]),
        "pooled": _held_out_scores([runs.open_run(out / name) for name in results]),
    }
    runs.write_json(out / "crossval.json", result)
    return result


def _held_out_scores(folds: list[Run]) -> dict:
    """The label scores over the held-out faces of all folds together; each face occurs once."""
    predictions = [runs.load_predictions(run) for run in folds]
    truth = np.concatenate([fold["truth"] for fold in predictions])
    probabilities = np.concatenate([fold["labels"] for fold in predictions])
    return scores.label_scores(probabilities[truth >= 0], truth[truth >= 0])


def _write_folds(path: Path, base: Config, root: Path) -> None:
    grouped = base.protocol != "kfold-ungrouped"
    samples, fold_of_face = protocols.folds(data.load(root), base.folds, grouped=grouped)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "fold"))
        writer.writerows(zip(samples.rows.tolist(), fold_of_face.tolist(), strict=True))
