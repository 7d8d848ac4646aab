"""Ablation study: train a baseline config, and the baseline with one change at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.lab import models, runs, scores
from mien.lab.config import Config, apply_changes
from mien.lab.experiments import RunProgress, describe_experiment, mean_and_sd, metrics_of, run_all
from mien.lab.runs import Run

FIXED_FIELDS = ("protocol", "fold", "folds", "seed")
"""Fields that no case may change, so that all cases have the same evaluation set and seeds."""

BASELINE = "baseline"
"""Name of the case without changes."""

GENERAL_CHANGES = {
    "no dropout": ("dropout=0",),
    "no augmentation": (
        "flip=no", "rotation=0", "scale=0", "translate=0", "brightness_contrast=0",
        "random_erasing=0", "mixup=0", "cutmix=0", "domain_randomization=0",
    ),
    "no label smoothing": ("label_smoothing=0",),
    "no EMA of the weights": ("ema_decay=0",),
}  # fmt: skip
"""Case -> changes, for any config. `models.ablations` has the ablations of each network."""


def ablate(
    base: Config,
    root: Path,
    out: Path,
    changes: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    on_progress: RunProgress,
) -> dict:
    """Train the baseline and each changed config once per seed, and compare their accuracy.

    The result is also written to `out/ablation.json`.

    Args:
        base: Config of the baseline; its seed is ignored.
        root: Path of the dataset.
        out: Parent of the run folders.
        changes: Case -> changes of the config, such as `{"no dropout": ["dropout=0"]}`.
        seeds: Seeds of the trainings of each case.
        on_progress: Called with the name and config of each training; returns its progress
            callback.

    Returns:
        A description of the experiment, and `cases`. Each case has its `changes`; its number of
        `parameters`; `seed_statistics`, the mean and sample standard deviation (None for one seed)
        of each metric over seeds; and `difference_to_baseline`: its accuracy minus that of the
        baseline, paired by face, with the 95 % bootstrap interval over faces.

    Raises:
        UserError: There is no seed, a case has no unique folder name, a change is invalid or
            changes one of `FIXED_FIELDS`, or a training fails.
        runs.RunLocked: Other processes are training some cases.
    """
    if not seeds:
        raise UserError("There are no seeds. Give at least one.")
    cases = _create_cases(base, changes)
    configs = {
        _folder_name(name, seed): replace(case, seed=seed)
        for seed in seeds
        for name, case in cases.items()
    }
    results = run_all(configs, root, out, on_progress)
    folders = {name: [_folder_name(name, seed) for seed in seeds] for name in cases}
    compared = _compare_cases(folders, results, out)
    result = describe_experiment(base, results) | {
        "kind": "ablation",
        "protocol": base.protocol,
        "seeds": list(seeds),
        "cases": {
            name: {"changes": list(changes.get(name, ())), **comparison}
            for name, comparison in compared.items()
        },
    }
    runs.write_json(out / "ablation.json", result)
    return result


def default_changes(base: Config) -> dict[str, tuple[str, ...]]:
    """Changes that each remove one training method or one part of the network that a config uses.

    Returns:
        Case -> changes, for `ablate`; the training methods first.
    """
    general = {
        name: changes
        for name, changes in GENERAL_CHANGES.items()
        if apply_changes(base, changes) != base
    }
    return general | {
        name: (f"model={variant}",) for name, variant in models.ablations(base.model).items()
    }


def slug(name: str) -> str:
    """The name in lower case, as words of letters and digits joined by dashes, for folder names."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def _folder_name(case: str, seed: int) -> str:
    return f"{slug(case)}-seed{seed}"


def _create_cases(base: Config, changes: Mapping[str, Sequence[str]]) -> dict[str, Config]:
    """Return the config of the baseline and of each case; a `UserError` if one is invalid."""
    _check_names([BASELINE, *changes])
    cases = {BASELINE: base} | {name: apply_changes(base, texts) for name, texts in changes.items()}
    _check_fixed_fields(base, cases)
    return cases


def _check_names(names: Sequence[str]) -> None:
    slugs = [slug(name) for name in names]
    for name in names:
        if not slug(name) or slugs.count(slug(name)) > 1:
            raise UserError(
                f"The case name {name!r} is empty or not unique; only letters and digits count. "
                "Rename the case."
            )


def _check_fixed_fields(base: Config, cases: Mapping[str, Config]) -> None:
    for name, case in cases.items():
        for field in FIXED_FIELDS:
            if getattr(case, field) != getattr(base, field):
                raise UserError(
                    f"Case {name!r} changes {field}, which must be equal in all cases. Change it "
                    "for all cases with --set."
                )


def _compare_cases(
    folders: Mapping[str, list[str]], results: Mapping[str, dict], out: Path
) -> dict[str, dict]:
    """Return parameters, statistics over seeds and difference to the baseline of each case.

    Args:
        folders: Case -> names of the folders of its runs, in the order of the seeds.
        results: Name of a run's folder -> result.
        out: Parent of the run folders.
    """
    accuracy_per_face = {
        name: _accuracy_per_face([runs.open_run(out / folder) for folder in case_folders])
        for name, case_folders in folders.items()
    }
    return {
        name: {
            "parameters": results[case_folders[0]]["network"]["parameters"],
            "seed_statistics": mean_and_sd(
                [metrics_of(results[folder]) for folder in case_folders]
            ),
            "difference_to_baseline": scores.paired_difference(
                accuracy_per_face[name], accuracy_per_face[BASELINE]
            ),
        }
        for name, case_folders in folders.items()
    }


def _accuracy_per_face(runs_of_case: list[Run]) -> np.ndarray:
    """(N,) fraction of the runs that classify each of the N labeled faces correctly."""
    correct = []
    for run in runs_of_case:
        predictions = runs.load_predictions(run)
        truth = predictions["truth"]
        correct.append((predictions["labels"].argmax(1) == truth)[truth >= 0])
    return np.mean(correct, axis=0)
