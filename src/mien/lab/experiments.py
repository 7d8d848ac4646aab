"""Several trainings that form one experiment; shared by cross-validation and ablation.

Each training has its own run folder. Finished runs are not repeated, so an interrupted experiment
can be resumed. Runs that another process is training are skipped, so several processes can share an
experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.lab import checks, data, evaluate, protocols, runs, train
from mien.lab.config import Config, to_public_json
from mien.lab.progress import ProgressCallback

RunProgress = Callable[[str, Config], ProgressCallback]
"""Called with the name and config of each training; returns its progress callback."""

METRICS = {
    "accuracy": ("labels", "fer2013", "accuracy"),
    "macro_f1": ("labels", "fer2013", "macro_f1"),
    "log_loss": ("labels", "fer2013", "log_loss"),
    "ferplus": ("votes", "ferplus_majority", "accuracy"),
    "kl_nats": ("votes", "proportions", "kl_nats"),
}
"""Name of a metric -> the keys of its score in a result: head, section, metric."""


def run_all(
    configs: dict[str, Config],
    root: Path,
    out: Path,
    on_progress: RunProgress,
    *,
    sequential: bool = False,
) -> dict[str, dict]:
    """Train and evaluate each config in `out/NAME`.

    Args:
        configs: Name -> config.
        root: Path of the dataset.
        out: Parent of the run folders.
        on_progress: Called with the name and config of each training; returns its progress
            callback.
        sequential: Whether each run depends on the previous one; then trainings stop at the first
            run that another process is training.

    Returns:
        Name -> result on `val`, in the order of `configs`.

    Raises:
        UserError: A training has no evaluation set or does not train the label head, or it fails.
        runs.RunLocked: Other processes are training some of the runs. Unless `sequential`, all
            other runs are trained.
    """
    # One check is enough for configs that differ only in their fold.
    check_trainable({replace(config, fold=0) for config in configs.values()}, root)
    locked: list[str] = []
    for name, config in configs.items():
        try:
            train.fit(config, root, out / name, on_progress=on_progress(name, config))
        except runs.RunLocked:
            locked.append(name)
            if sequential:
                break
    if locked:
        raise runs.RunLocked(
            f"Other processes are training {', '.join(locked)} in {out}. Run the command again "
            "when they are done."
        )
    return {name: evaluate.load_or_evaluate(runs.open_run(out / name), root) for name in configs}


def check_trainable(configs: Iterable[Config], root: Path) -> None:
    """Check that each network can be trained, has an evaluation set and trains the label head.

    Raises:
        UserError: A network, its protocol or the data is invalid, the data has no split `val` or no
            targets, or the label head is not trained.
    """
    dataset = data.load(root)
    for config in configs:
        checks.check_network(config)
        splits = protocols.split(dataset, config)
        data.split(splits, "val")
        if "labels" not in checks.trainable_heads(config, splits):
            raise UserError("Experiments compare the predictions of labels. Set label_weight above "
                            "0, and use data with labels.")  # fmt: skip


def metrics_of(result: dict) -> dict[str, float]:
    """The value of each of `METRICS` that a result contains."""
    return {
        name: result["heads"][head][section][metric]["value"]
        for name, (head, section, metric) in METRICS.items()
        if section in result["heads"].get(head, {})
    }


def mean_and_sd(metrics: list[dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation of each metric over runs; of one run, `sd` is None."""
    statistics = {}
    for name in metrics[0]:
        values = [of_run[name] for of_run in metrics]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        statistics[name] = {"mean": float(np.mean(values)), "sd": sd}
    return statistics


def describe_experiment(base: Config, results: dict[str, dict]) -> dict:
    """The config, data, test-time augmentation, commits and environment of an experiment."""
    first = next(iter(results.values()))
    return {
        "config": to_public_json(base),
        "data": first["data"],
        "tta": first["tta"],
        "commits": sorted({result["provenance"]["commit"] or "" for result in results.values()}),
        "environment": first["environment"],
    }
