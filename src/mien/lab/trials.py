"""Many trainings that answer one question: cross-validation and ablation.

Each training has a run folder of its own. What is finished is not done again and what another
process is training is left to it, so a trial that was killed goes on, and several processes may
share one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import checks, config, data, evaluate, models, protocols, runs, scores, train
from mien.lab.config import Config, published
from mien.lab.runs import Run

Watcher = Callable[[str, Config], train.Watcher]
"""Told the name and the recipe of each training, it gives what watches that one."""

MEASURES = {
    "accuracy": ("labels", "fer2013", "accuracy"),
    "macro_f1": ("labels", "fer2013", "macro_f1"),
    "log_loss": ("labels", "fer2013", "log_loss"),
    "ferplus": ("votes", "ferplus_majority", "accuracy"),
    "kl_nats": ("votes", "proportions", "kl_nats"),
}
"""What is averaged over the trainings, and where it stands in a result: head, section, number."""

FIXED = ("protocol", "fold", "folds", "seed")
"""What no case of an ablation may change: all are judged by the same faces, seed by seed."""

BASELINE = "baseline"
"""The name of the unchanged training in an ablation."""

WITHOUT = {
    "no dropout": ("dropout=0",),
    "no augmentation": (
        "flip=no",
        "rotation=0",
        "scale=0",
        "translate=0",
        "brightness_contrast=0",
        "random_erasing=0",
    ),
    "no label smoothing": ("label_smoothing=0",),
    "no moving average": ("ema_decay=0",),
}
"""What can be left out of any recipe; `models.without` adds the parts of its network."""


def crossval(base: Config, root: Path, out: Path, watch: Watcher) -> dict:
    """Train once per fold of the recipe's protocol: the result, also in `out/crossval.json`.

    Its numbers are those of each fold, their mean and sample standard deviation, and those of all
    held-out answers together. `out/folds.csv` says which face was in which fold. Raises
    `UserError` for a protocol without folds, and `runs.Busy` if other processes hold some folds.
    """
    if "kfold" not in base.protocol:
        known = ", ".join(name for name in protocols.PROTOCOLS if "kfold" in name)
        raise UserError(f"The protocol {base.protocol} has no folds; choose one of {known}.")
    wanted = {f"fold-{k}": replace(base, fold=k) for k in range(base.folds)}
    if base.protocol == "leaky-kfold":  # one model for all folds: each starts where the last ended
        for k in range(1, base.folds):
            last = (out / f"fold-{k - 1}").resolve()
            wanted[f"fold-{k}"] = replace(wanted[f"fold-{k}"], init_from=str(last))
    found = _carry_out(wanted, root, out, watch, in_turn=base.protocol == "leaky-kfold")
    _write_folds(out / "folds.csv", base, root)
    result = _about(base, found) | {
        "kind": "crossval",
        "protocol": base.protocol,
        "folds": {name: _numbers(one) for name, one in found.items()},
        "fold_statistics": over([_numbers(one) for one in found.values()]),
        "pooled": _pooled([runs.open_run(out / name) for name in found]),
    }
    runs.write_json(out / "crossval.json", result)
    return result


def ablate(
    base: Config,
    root: Path,
    out: Path,
    changes: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    watch: Watcher,
) -> dict:
    """Train as it is and with each change, once per seed: the result, also in `out/ablation.json`.

    changes: name -> recipe changes, `{"no dropout": ["dropout=0"]}`. seeds: in place of the
    recipe's own. Beside the mean and sample standard deviation over seeds stands the change in
    accuracy, paired face by face, with its 95 % bootstrap interval over faces. Raises `UserError`
    for names that no two folders can bear and for what `FIXED` names, and `runs.Busy` as
    `crossval` does.
    """
    names = [BASELINE, *changes]
    if not seeds:
        raise UserError("An ablation trains each case at least once.")
    for name in names:
        if not slug(name) or [slug(other) for other in names].count(slug(name)) > 1:
            raise UserError(f"The case {name!r} needs a name of its own, in letters or digits.")
    cases = {BASELINE: base} | {n: config.changed(base, c) for n, c in changes.items()}
    for name, case in cases.items():
        for field in FIXED:
            if getattr(case, field) != getattr(base, field):
                raise UserError(f"The case {name!r} changes {field}, which is for all to share.")
    wanted = {
        f"{slug(name)}-seed{seed}": replace(case, seed=seed)
        for seed in seeds
        for name, case in cases.items()
    }
    found = _carry_out(wanted, root, out, watch)
    by_case = {n: [f"{slug(n)}-seed{seed}" for seed in seeds] for n in cases}
    hits = {n: _hits([runs.open_run(out / one) for one in ones]) for n, ones in by_case.items()}
    result = _about(base, found) | {
        "kind": "ablation",
        "protocol": base.protocol,
        "seeds": list(seeds),
        "cases": {
            name: {
                "changes": list(changes.get(name, ())),
                "parameters": found[by_case[name][0]]["network"]["parameters"],
                "seed_statistics": over([_numbers(found[one]) for one in by_case[name]]),
                "difference_to_baseline": scores.paired_difference(hits[name], hits[BASELINE]),
            }
            for name in cases
        },
    }
    runs.write_json(out / "ablation.json", result)
    return result


def parts(base: Config) -> dict[str, tuple[str, ...]]:
    """The usual ablations of a recipe: what any can do without, then each part of its network."""
    general = {
        name: changes for name, changes in WITHOUT.items() if config.changed(base, changes) != base
    }
    return general | {
        words: (f"model={name}",) for words, name in models.without(base.model).items()
    }


def slug(name: str) -> str:
    """A name as a folder can bear it: letters and digits, joined by dashes."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def over(numbers: list[dict[str, float]]) -> dict:
    """Mean and sample standard deviation of each number over several trainings."""
    return {
        name: {
            "mean": float(np.mean([n[name] for n in numbers])),
            "sd": float(np.std([n[name] for n in numbers], ddof=1)) if len(numbers) > 1 else None,
        }
        for name in numbers[0]
    }


def check_judged(wanted: Iterable[Config], root: Path) -> None:
    """Refuse, before hours are spent, trainings whose answers about labels nothing can judge."""
    splits = data.load(root)
    for one in wanted:
        checks.network(one)
        divided = protocols.divide(splits, one)
        data.split(divided, "val")
        if "labels" not in checks.heads(one, divided):
            raise UserError("These trainings are compared by what they say of labels, and one of "
                            "them is taught none: label_weight=0, or data without.")  # fmt: skip


def _carry_out(
    wanted: dict[str, Config], root: Path, out: Path, watch: Watcher, *, in_turn: bool = False
) -> dict[str, dict]:
    """Train and measure what is not finished yet: name -> result, in the same order."""
    check_judged({replace(one, fold=0) for one in wanted.values()}, root)
    busy: list[str] = []
    for name, one in wanted.items():
        try:
            train.fit(one, root, out / name, watch=watch(name, one))
        except runs.Busy:
            busy.append(name)
            if in_turn:
                break
    if busy:
        raise runs.Busy(
            f"Other processes are training {', '.join(busy)} in {out}; the rest is finished. "
            "Ask again when they are done."
        )
    return {name: evaluate.load_or_evaluate(runs.open_run(out / name), root) for name in wanted}


def _numbers(result: dict) -> dict[str, float]:
    return {
        name: result["heads"][head][section][number]["value"]
        for name, (head, section, number) in MEASURES.items()
        if section in result["heads"].get(head, {})
    }


def _about(base: Config, found: dict[str, dict]) -> dict:
    first = next(iter(found.values()))
    return {
        "config": published(base),
        "data": first["data"],
        "tta": first["tta"],
        "commits": sorted({one["provenance"]["commit"] or "" for one in found.values()}),
        "environment": first["environment"],
    }


def _pooled(done: list[Run]) -> dict:
    """All held-out answers of a cross-validation as one: each face is judged exactly once."""
    answers = [runs.load_predictions(run) for run in done]
    truth = np.concatenate([a["truth"] for a in answers])
    said = np.concatenate([a["labels"] for a in answers])
    return scores.label_scores(said[truth >= 0], truth[truth >= 0])


def _hits(done: list[Run]) -> np.ndarray:
    """(N,) how often, over the runs, each face that has a label was given it."""
    answers = [runs.load_predictions(run) for run in done]
    hits = [(a["labels"].argmax(1) == a["truth"])[a["truth"] >= 0] for a in answers]
    return np.mean(hits, axis=0)


def _write_folds(path: Path, base: Config, root: Path) -> None:
    grouped = base.protocol != "kfold-ungrouped"
    pool, parts = protocols.folds(data.load(root), base.folds, grouped=grouped)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("row", "fold"))
        lines.writerows(zip(pool.rows.tolist(), parts.tolist(), strict=True))
