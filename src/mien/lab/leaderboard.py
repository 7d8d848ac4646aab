"""Build the leaderboard: claimed accuracy, measured accuracy and cost of every system.

Claims are those in `mien.lab.claims`, inference times and file sizes are read from `TIMES_FILE`,
and all other numbers from result files of `mien evaluate --out`. Results that differ only in the
training seed form one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from mien.errors import UserError
from mien.lab import claims, figures, protocols, runs
from mien.lab.config import Config, to_json
from mien.lab.page import FigureBlock, Page, Table

TIMES_FILE = "times.json"
"""Optional file with the inference time and file size of networks, from benchmarks/times.py."""

MIN_SYSTEMS = 5
"""Minimum number of systems for which a rank correlation is computed."""

RESULT_KEYS = {"heads", "data", "protocol", "tta", "provenance"}
"""Keys by which result files are recognized among other JSON files."""

Score = dict[str, float]
"""A score: `value`, and the ends of its 95 % bootstrap interval over faces, `low` and `high`.

For several seeds, these are means over the seeds, and `sd` is the standard deviation of `value`."""


@dataclass(slots=True)
class Row:
    """A row of the leaderboard: one network with one config, or one model file.

    Attributes:
        model: Full name of the network, or name of the model file.
        config: Training config. That of a network lacks the seed, and that of a model file is empty
            if the file does not state one.
        results: The results of `mien evaluate`, one per seed.
        times: Inference time and file size; empty if they were not measured.
    """

    model: str
    config: dict
    results: list[dict] = field(default_factory=list)
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def system(self) -> claims.PublishedSystem:
        """The published system of the network; one without claimed accuracy if it is unknown."""
        family = self.config.get("model", "").partition("-")[0]  # such as "resnet" for "resnet-32"
        return claims.SYSTEMS.get(family) or claims.PublishedSystem(self.model, None)

    def metric(self, section: str, name: str) -> Score:
        """Return a metric and its interval, averaged over seeds; empty unless all results have it.

        Args:
            section: Group of scores, such as `fer2013`, `ferplus_majority` or `proportions`.
            name: Metric of the section, such as `accuracy`.
        """
        by_seed = (_section(result, section).get(name) for result in self.results)
        scores = [score for score in by_seed if score is not None]
        if len(scores) < len(self.results):
            return {}
        mean = {k: float(np.mean([score[k] for score in scores])) for k in ("value", "low", "high")}
        if len(scores) == 1:
            return mean
        return mean | {"sd": float(np.std([score["value"] for score in scores], ddof=1))}

    def mean(self, entry: str, name: str) -> float | None:
        """Return the mean over seeds of a number without an interval; None unless all have it.

        Args:
            entry: Top-level entry of a result, such as `training` or `network`.
            name: Number of the entry, such as `seconds`.
        """
        values = [result.get(entry, {}).get(name) for result in self.results]
        return float(np.mean(values)) if None not in values else None


def read_rows(folder: Path) -> list[Row]:
    """Read the result files in a folder, and return rows sorted by descending accuracy.

    Results with the same config, input size and data but different seeds form one row. A model file
    has its own row.

    Raises:
        UserError: The folder does not exist or has no results, a damaged file, two results of the
            same training, or results with different evaluation sets.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give a folder of results of mien evaluate --out."
        )
    rows: dict[str, Row] = {}
    times = _read_times(folder / TIMES_FILE)
    data_by_evaluation_set: dict[tuple[str, ...], str] = {}
    for path in sorted(folder.glob("*.json")):
        result = runs.read_json(path)
        if path.name == TIMES_FILE or not set(result) >= RESULT_KEYS:
            continue
        try:
            data_by_evaluation_set[protocols.evaluation_set(result)] = result["data"]["name"]
            key, row = _key_and_empty_row(result, times)
            # Raises an error if the score by which the rows are sorted is missing or no number.
            float(result["heads"]["labels"]["fer2013"]["accuracy"]["value"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path} is damaged or has no label scores; remove it.") from None
        row = rows.setdefault(key, row)  # the row of an earlier result, if there is one
        if any(_seed(other) == _seed(result) for other in row.results):
            raise UserError(f"{path} is a second result of the same training; remove one of them.")
        row.results.append(result)
    if not rows:
        raise UserError(
            f"{folder} has no results; add some with mien evaluate RUN --out {folder}/NAME.json."
        )
    _check_one_evaluation_set(data_by_evaluation_set, folder)
    return sorted(rows.values(), key=lambda row: -row.metric("fer2013", "accuracy")["value"])


def _read_times(path: Path) -> dict[str, dict]:
    """Return model -> inference time and file size; empty without a file."""
    if not path.exists():
        return {}
    times = runs.read_json(path).get("rows")
    if not isinstance(times, dict):
        raise UserError(f"{path} is damaged; remove it, or write it with benchmarks/times.py.")
    return times


def _check_one_evaluation_set(
    data_by_evaluation_set: Mapping[tuple[str, ...], str], folder: Path
) -> None:
    """Raise a `UserError` if there are several evaluation sets, each mapped to its data's name."""
    if len(data_by_evaluation_set) > 1:
        listed = "; ".join(
            _describe_evaluation_set(key, name)
            for key, name in sorted(data_by_evaluation_set.items())
        )
        raise UserError(
            f"The results in {folder} differ in protocol, fold, split, test-time augmentation or "
            f"data: {listed}. Move them to separate folders."
        )


def _key_and_empty_row(result: Mapping, times: Mapping) -> tuple[str, Row]:
    """Return a key that results of the same row share, and a new row without results."""
    config = dict(result["provenance"].get("config") or {})
    if "training" not in result or "model" not in config:  # of a model file, not of a run
        return result["name"], Row(result["name"], config)
    config = to_json(Config()) | config  # results may be older than some fields
    config["model"] = _full_name(config["model"])
    config.pop("seed")
    data_digests = (result["provenance"].get("data") or {}).get("sha256", {})
    key = json.dumps([config, result["input_size"], data_digests], sort_keys=True)
    return key, Row(config["model"], config, times=times.get(config["model"], {}))


def _describe_evaluation_set(key: Sequence[str], data_name: str) -> str:
    protocol, *subset, split, tta, digest = key
    values = (
        f"protocol {protocol}", *subset, f"split {split}", f"test-time augmentation {tta}",
        f"data {data_name} (SHA-256 {digest})",
    )  # fmt: skip
    return ", ".join(values)


def _full_name(name: str) -> str:
    """Add the first variant to a family name without variant, such as `resnet`."""
    if "-" in name:
        return name
    from mien.lab import models  # imports torch, which is seldom needed here

    return models.full_name(name)


def _seed(result: Mapping) -> int | None:
    return (result["provenance"].get("config") or {}).get("seed")


def build_page(rows: Sequence[Row]) -> Page:
    """Build the page from rows that are sorted by descending accuracy."""
    networks = f"{len(rows)} networks" if len(rows) > 1 else "one network"
    page = Page(f"Leaderboard: {networks} under one protocol")
    page.add(table(rows), summary(rows), accuracy_by_cost(rows))
    page.add("# Claimed and measured accuracy", claimed_and_measured(rows))
    if correlation := rank_correlation(rows):
        page.add(correlation)
    page.add(claim_notes(rows))
    return page


def summary(rows: Sequence[Row]) -> str:
    """Describe the evaluation set, the trainings, the columns and any warnings in a paragraph."""
    result = rows[0].results[0]
    seed_counts = [len(row.results) for row in rows]
    return (
        f"Evaluation set: split {result['data']['split']} of {result['data']['name']}, protocol "
        f"{result['protocol']}, test-time augmentation {result['tta']}. Epochs: "
        f"{_epochs(rows) or 'unknown'}; seeds per network: {_range(seed_counts)}. Longer training "
        "may help. Intervals are 95 % bootstrap intervals over faces. FER+ is the accuracy against "
        "the majority of ten raters, KL the Kullback-Leibler divergence from their vote shares in "
        "nats, MMAC the millions of multiply-adds per face, and time / default the inference time "
        "divided by that of the model default. Networks with slim in their name are smaller "
        f"versions.{_warnings(rows)}"
    )


def _warnings(rows: Sequence[Row]) -> str:
    """Return each warning, preceded by a space and the names of the models it applies to."""
    models_by_warning: dict[str, list[str]] = {}
    for row in rows:
        messages = {text for result in row.results for text in protocols.warnings(result)}
        for message in sorted(messages):
            models_by_warning.setdefault(message, []).append(row.model)
    return "".join(
        f" {', '.join(models)}: {message}" for message, models in models_by_warning.items()
    )


def table(rows: Sequence[Row]) -> Table:
    """Build the table with all numbers of each row."""
    columns = (
        "system", "model", "claimed", "measured", "low", "high", "seeds", "sd",
        "without duplicates", "macro-F1", "FER+", "KL, nats", "calibration error",
        "parameters, M", "MMAC", "file, MB", "ms per face", "time / default", "epochs",
        "training, minutes",
    )  # fmt: skip
    return Table("Accuracy and cost, most accurate first.", columns, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple:
    accuracy = row.metric("fer2013", "accuracy")
    seconds = row.mean("training", "seconds")
    millions = [
        _scaled(row.mean("network", name), 1e-6) for name in ("parameters", "multiply_adds")
    ]
    return (
        row.system.name,
        row.model,
        row.system.claimed_accuracy,
        *(accuracy[key] for key in ("value", "low", "high")),
        len(row.results),
        accuracy.get("sd"),
        row.metric("fer2013_without_duplicates", "accuracy").get("value"),
        row.metric("fer2013", "macro_f1")["value"],
        row.metric("ferplus_majority", "accuracy").get("value"),
        row.metric("proportions", "kl_nats").get("value"),
        row.metric("fer2013", "calibration_error")["value"],
        *millions,
        *(row.times.get(key) for key in ("megabytes", "ms", "times_default")),
        row.config.get("epochs"),
        None if seconds is None else round(seconds / 60),
    )


def accuracy_by_cost(rows: Sequence[Row]) -> FigureBlock:
    """Plot accuracy by multiply-adds."""
    points = []
    for row in rows:
        multiply_adds = row.mean("network", "multiply_adds")
        if multiply_adds is not None:
            accuracy = row.metric("fer2013", "accuracy")
            interval = (accuracy["low"], accuracy["high"])
            points.append((row.model, multiply_adds, accuracy["value"], *interval))
    caption = "Accuracy on FER2013's labels by multiply-adds per face, with 95 % intervals."
    return FigureBlock("accuracy-by-cost", caption, figures.accuracy_by_cost(points))


def claimed_and_measured(rows: Sequence[Row]) -> FigureBlock:
    """Plot the claimed and measured accuracy of the rows with a claim."""
    points = []
    for row in rows:
        accuracy = row.metric("fer2013", "accuracy")
        if row.system.claimed_accuracy is not None:
            name = f"{row.system.name} ({row.model})"
            numbers = (accuracy["value"], accuracy["low"], accuracy["high"])
            points.append((name, row.system.claimed_accuracy, *numbers))
    epochs = _epochs(rows)
    training = f" after {epochs} epochs" if epochs else ""
    caption = (
        "Accuracy as claimed by the authors, each with their own protocol, and as measured with "
        f"one protocol{training}."
    )
    return FigureBlock("claimed-and-measured", caption, figures.claimed_and_measured(points))


def rank_correlation(rows: Sequence[Row]) -> str:
    """Describe the rank correlation of claimed and measured accuracy; empty for few systems."""
    # The claim of a system with several rows is compared with the most accurate, which is first.
    best: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.system.claimed_accuracy is not None:
            accuracy = row.metric("fer2013", "accuracy")["value"]
            best.setdefault(row.system.name, (row.system.claimed_accuracy, accuracy))
    if len(best) < MIN_SYSTEMS:
        return ""
    correlation = spearmanr(*zip(*best.values(), strict=True)).statistic
    return (
        f"Spearman rank correlation of claimed and measured accuracy over {len(best)} systems: "
        f"{correlation:+.2f}. It is +1 if both accuracies rank the systems equally, and 0 if the "
        "ranks are unrelated."
    )


def claim_notes(rows: Iterable[Row]) -> Table:
    """Build the table of systems with a note on their claim."""
    systems = {row.system.name: row.system for row in rows if row.system.note}
    return Table(
        "Possible reasons for differences between claimed and measured accuracy.",
        ("system", "claimed", "note"),
        [(name, system.claimed_accuracy, system.note) for name, system in systems.items()],
    )


def _section(result: Mapping, section: str) -> Mapping:
    """Return the scores of a section; empty if there are none.

    Sections about votes are read from the vote head, all others from the label head. A result with
    only one head has all of them there.
    """
    heads = result["heads"]
    preferred, other = ("votes", "labels") if _is_about_votes(section) else ("labels", "votes")
    return heads.get(preferred, heads.get(other, {})).get(section, {})


def _is_about_votes(section: str) -> bool:
    return section.startswith("ferplus") or section == "proportions"


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _epochs(rows: Sequence[Row]) -> str:
    """Return the range of epochs of the rows as text, such as `"10 to 60"`; empty if unknown."""
    epochs = sorted({row.config["epochs"] for row in rows if row.config})
    return _range(epochs) if epochs else ""


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
