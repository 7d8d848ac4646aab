"""Ablation: train a baseline, and the baseline with each of several changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.lab import models, runs, scores
from mien.lab.config import Config, changed
from mien.lab.experiments import RunProgress, describe_experiment, mean_and_sd, metrics_of, run_all
from mien.lab.runs import Run

FIXED = ("protocol", "fold", "folds", "seed")
"""Fields that no case may change, so that all have the same evaluation set and seeds."""

BASELINE = "baseline"
"""Name of the unchanged case."""

GENERAL_CHANGES = {
    "no dropout": ("dropout=0",),
    "no augmentation": (
        "flip=no", "rotation=0", "scale=0", "translate=0", "brightness_contrast=0",
        "random_erasing=0",
    ),
    "no label smoothing": ("label_smoothing=0",),
    "no moving average": ("ema_decay=0",),
}  # fmt: skip
"""Ablations of any config; `models.ablations` has the ablations of a network."""


def ablate(
    base: Config,
    root: Path,
    out: Path,
    changes: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    on_progress: RunProgress,
) -> dict:
    """Train the baseline and each change, once per seed.

    Also writes the result to `out/ablation.json`.

    Args:
        base: config of the baseline; its seed is ignored.
        root: the data.
        out: parent of the run folders.
        changes: name of a case -> changes of the config, such as `{"no dropout": ["dropout=0"]}`.
        seeds: of the trainings.
        on_progress: makes the progress callback of each training.

    Returns:
        For each case: mean and sample standard deviation over seeds, and the difference of its
        accuracy from the baseline, paired by face, with its 95 % bootstrap interval over faces.

    Raises:
        UserError: two cases would have the same folder, or a case changes a field in `FIXED`.
        runs.RunLocked: other processes are training some cases.
    """
    if not seeds:
        raise UserError("There are no seeds. Give at least one.")
    _check_names([BASELINE, *changes])
    cases = {BASELINE: base} | {name: changed(base, each) for name, each in changes.items()}
    _check_fixed_fields(base, cases)
    configs = {
        f"{slug(name)}-seed{seed}": replace(case, seed=seed)
        for seed in seeds
        for name, case in cases.items()
    }
    results = run_all(configs, root, out, on_progress)
    names = {name: [f"{slug(name)}-seed{seed}" for seed in seeds] for name in cases}
    hits = {
        name: _hit_rates([runs.open_run(out / folder) for folder in folders])
        for name, folders in names.items()
    }
    result = describe_experiment(base, results) | {
        "kind": "ablation",
        "protocol": base.protocol,
        "seeds": list(seeds),
        "cases": {
            name: {
                "changes": list(changes.get(name, ())),
                "parameters": results[names[name][0]]["network"]["parameters"],
                "seed_statistics": mean_and_sd([metrics_of(results[one]) for one in names[name]]),
                "difference_to_baseline": scores.paired_difference(hits[name], hits[BASELINE]),
            }
            for name in cases
        },
    }
    runs.write_json(out / "ablation.json", result)
    return result


def _check_names(names: Sequence[str]) -> None:
    slugs = [slug(name) for name in names]
    for name in names:
        if not slug(name) or slugs.count(slug(name)) > 1:
            raise UserError(f"The letters and digits of {name!r} are not unique. Rename the case.")


def _check_fixed_fields(base: Config, cases: Mapping[str, Config]) -> None:
    for name, case in cases.items():
        for field in FIXED:
            if getattr(case, field) != getattr(base, field):
                raise UserError(
                    f"Case {name!r} changes {field}, which must be equal in all cases. Change it "
                    "with --set."
                )


def default_changes(base: Config) -> dict[str, tuple[str, ...]]:
    """The usual ablations of a config: first of training methods, then of parts of the network."""
    general = {
        name: changes for name, changes in GENERAL_CHANGES.items() if changed(base, changes) != base
    }
    return general | {
        name: (f"model={variant}",) for name, variant in models.ablations(base.model).items()
    }


def slug(name: str) -> str:
    """The name as part of a folder's name: letters and digits, joined by dashes."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _hit_rates(runs_of_case: list[Run]) -> np.ndarray:
    """The fraction of the runs that classify each labeled face correctly: (N,)."""
    predictions = [runs.load_predictions(run) for run in runs_of_case]
    hits = [(each["labels"].argmax(1) == each["truth"])[each["truth"] >= 0] for each in predictions]
    return np.mean(hits, axis=0)
