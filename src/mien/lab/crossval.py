"""Cross-validation: train once per fold."""

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
    """Train once per fold of the config's protocol.

    Also writes the result to `out/crossval.json`, and the fold of each face to `out/folds.csv`.

    Args:
        base: config of all trainings, except for its fold, which is ignored.
        root: the data.
        out: parent of the run folders.
        on_progress: makes the progress callback of each training.

    Returns:
        The metrics of each fold, their mean and sample standard deviation, and the metrics over
        the held-out predictions of all folds.

    Raises:
        UserError: the protocol has no folds.
        runs.RunLocked: other processes are training some folds.
    """
    if "kfold" not in base.protocol:
        choices = ", ".join(name for name in protocols.PROTOCOLS if "kfold" in name)
        raise UserError(f"Protocol {base.protocol} has no folds. Use one of {choices}.")
    configs = {f"fold-{k}": replace(base, fold=k) for k in range(base.folds)}
    is_leaky = base.protocol == "leaky-kfold"
    if is_leaky:  # one model for all folds: each starts from the weights of the previous one
        for k in range(1, base.folds):
            previous = (out / f"fold-{k - 1}").resolve()
            configs[f"fold-{k}"] = replace(configs[f"fold-{k}"], init_from=str(previous))
    results = run_all(configs, root, out, on_progress, sequential=is_leaky)
    _write_folds(out / "folds.csv", base, root)
    result = describe_experiment(base, results) | {
        "kind": "crossval",
        "protocol": base.protocol,
        "folds": {name: metrics_of(each) for name, each in results.items()},
        "fold_statistics": mean_and_sd([metrics_of(each) for each in results.values()]),
        "pooled": _held_out_scores([runs.open_run(out / name) for name in results]),
    }
    runs.write_json(out / "crossval.json", result)
    return result


def _held_out_scores(folds: list[Run]) -> dict:
    """The scores over the held-out predictions of all folds; each face occurs once."""
    predictions = [runs.load_predictions(run) for run in folds]
    labels = np.concatenate([each["truth"] for each in predictions])
    shares = np.concatenate([each["labels"] for each in predictions])
    return scores.label_scores(shares[labels >= 0], labels[labels >= 0])


def _write_folds(path: Path, base: Config, root: Path) -> None:
    grouped = base.protocol != "kfold-ungrouped"
    pool, assigned = protocols.folds(data.load(root), base.folds, grouped=grouped)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "fold"))
        writer.writerows(zip(pool.rows.tolist(), assigned.tolist(), strict=True))
