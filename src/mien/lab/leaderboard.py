"""Results -> the table of all systems: what was claimed and what is measured, and at what cost.

Every number but the claimed ones comes from result files that `mien evaluate --out` wrote; those of
one recipe that differ in their seed alone make one row.
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
from mien.lab.page import Page, Picture, Table

TIMES = "times.json"
"""Where, among the results, `benchmarks/times.py` leaves how long each network takes."""

FEWEST = 5
"""Systems whose claims can be set against what is measured as a whole."""

Number = dict[str, float]


@dataclass(slots=True)
class Row:
    """A system: its recipe but for the seed, and a result per seed; of a model file, no recipe."""

    model: str
    config: dict
    results: list[dict] = field(default_factory=list)
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def system(self) -> claims.System:
        """Who built it, and what they claim."""
        family = self.config.get("model", "").partition("-")[0]
        return claims.SYSTEMS.get(family) or claims.System(self.model, None)

    def number(self, section: str, name: str) -> Number:
        """A measured number: mean over seeds, of its interval as well, and the seeds' spread.

        What needs FER+ votes is asked of the head that was taught them, if there is one.
        """
        found = [_section(result, section).get(name) for result in self.results]
        known = [number for number in found if number is not None]
        if len(known) < len(self.results):
            return {}
        values = [number["value"] for number in known]
        spread = {"sd": float(np.std(values, ddof=1))} if len(values) > 1 else {}
        return {k: float(np.mean([n[k] for n in known])) for k in ("value", "low", "high")} | spread

    def mean(self, part: str, name: str) -> float | None:
        """The mean over seeds of a plain number, such as the seconds of training."""
        found = [result.get(part, {}).get(name) for result in self.results]
        return float(np.mean(found)) if None not in found else None


def read(folder: Path) -> list[Row]:
    """The systems whose results lie in a folder, the most accurate first.

    Seeds make one row if all but the seed is the same: recipe, window and the faces that taught. A
    model file has a row of its own. Raises `UserError` if there is no result, if some were not
    measured on the same faces, or if two are of the same training.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}; name one of what `mien evaluate --out` wrote."
        )
    rows: dict[str, Row] = {}
    times = runs.read_json(folder / TIMES)["rows"] if (folder / TIMES).exists() else {}
    judges: dict[tuple[str, ...], str] = {}
    for path in sorted(folder.glob("*.json")):
        result = runs.read_json(path)
        wanted = {"heads", "data", "protocol", "views", "trained"}
        if path.name == TIMES or not (isinstance(result, dict) and wanted <= set(result)):
            continue
        try:
            judges[protocols.judge(result)] = result["data"]["name"]
            key, row = _row(result, times)
            float(result["heads"]["labels"]["fer2013"]["accuracy"]["value"])
        except (KeyError, TypeError, AttributeError):
            raise UserError(f"{path} is damaged, or says nothing of labels.") from None
        row = rows.setdefault(key, row)
        if any(_seed(other) == _seed(result) for other in row.results):
            raise UserError(
                f"{path} is of a training that has a result already; leave one of them."
            )
        row.results.append(result)
    if not rows:
        raise UserError(f"{folder} holds no results; `mien evaluate RUN --out` writes one.")
    if len(judges) > 1:
        shown = "; ".join(f"{' '.join(judge)} of {judges[judge]}" for judge in sorted(judges))
        raise UserError(f"The results in {folder} are not comparable: {shown}.")
    return sorted(rows.values(), key=lambda row: -row.number("fer2013", "accuracy")["value"])


def _row(result: Mapping, times: Mapping) -> tuple[str, Row]:
    """What tells a result's row from others, and that row, still without results."""
    config = dict(result["trained"].get("config") or {})
    if "training" not in result or "model" not in config:
        return result["what"], Row(result["what"], config)
    config = to_json(Config()) | config  # with fields younger than the result
    config["model"] = _whole(config["model"])
    config.pop("seed")
    taught = (result["trained"].get("data") or {}).get("sha256", {})
    key = json.dumps([config, result["window"], taught], sort_keys=True)
    return key, Row(config["model"], config, times=times.get(config["model"], {}))


def _whole(name: str) -> str:
    """A network's name in full; torch is there only for those who left it short."""
    if "-" in name:
        return name
    from mien.lab import models

    return models.whole(name)


def _seed(result: Mapping) -> int | None:
    return (result["trained"].get("config") or {}).get("seed")


def page(rows: Sequence[Row]) -> Page:
    """The leaderboard as a page: the table, accuracy against cost, and why claims differ."""
    made = Page(f"{len(rows)} networks, judged alike" if len(rows) > 1 else "One network, judged")
    made.add(summary(rows), table(rows), cost(rows))
    made.add("# Claimed and measured", claimed(rows), *filter(None, [agreement(rows)]))
    made.add(reasons(rows))
    return made


def summary(rows: Sequence[Row]) -> str:
    """What judged them, and how long they were trained."""
    result = rows[0].results[0]
    seeds = sorted({len(row.results) for row in rows})
    epochs = _epochs(rows) or "unknown"
    return (
        f"Judged by split {result['data']['split']} of {result['data']['name']}, protocol "
        f"{result['protocol']}, views {result['views']}. Epochs: "
        f"{epochs}; seeds: {_span(seeds)}: what so many give, not the most that a network "
        "can. Intervals are 95 % bootstrap intervals over faces. FER+ is the accuracy against the "
        "majority of ten raters, KL the Kullback-Leibler divergence in nats from their "
        f"votes. A name with slim in it is a smaller network of the same kind.{_cautions(rows)}"
    )


def _cautions(rows: Sequence[Row]) -> str:
    """What must stand beside some rows or all, each with a space before it."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for one in sorted({c for result in row.results for c in protocols.cautions(result)}):
            said.setdefault(one, []).append(row.model)
    return "".join(f" {', '.join(models)}: {one}" for one, models in said.items())


def table(rows: Sequence[Row]) -> Table:
    """Every system with every number."""
    columns = (
        "system", "model", "claimed", "measured", "low", "high", "seeds", "sd", "without twins",
        "macro-F1", "FER+", "KL, nats", "calibration error", "parameters, M", "MMAC", "file, MB",
        "ms a face", "times default", "epochs", "training, min",
    )  # fmt: skip
    return Table("The most accurate first.", columns, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple:
    accuracy = row.number("fer2013", "accuracy")
    seconds = row.mean("training", "seconds")
    millions = [_scaled(row.mean("network", n), 1e-6) for n in ("parameters", "multiply_adds")]
    return (
        row.system.name,
        row.model,
        row.system.claimed,
        *(accuracy[key] for key in ("value", "low", "high")),
        len(row.results),
        accuracy.get("sd"),
        row.number("fer2013_without_twins", "accuracy").get("value"),
        row.number("fer2013", "macro_f1")["value"],
        row.number("ferplus_majority", "accuracy").get("value"),
        row.number("proportions", "kl_nats").get("value"),
        row.number("fer2013", "calibration_error")["value"],
        *millions,
        *(row.times.get(key) for key in ("megabytes", "ms", "times_default")),
        row.config.get("epochs"),
        None if seconds is None else round(seconds / 60),
    )


def cost(rows: Sequence[Row]) -> Picture:
    """Accuracy by multiply-adds."""
    points = [
        (row.model, work, accuracy["value"], accuracy["low"], accuracy["high"])
        for row in rows
        if (work := row.mean("network", "multiply_adds")) is not None
        and (accuracy := row.number("fer2013", "accuracy"))
    ]
    caption = "Accuracy on FER2013's labels by the work for one face, with 95 % intervals."
    return Picture("accuracy-by-cost", caption, figures.cost(points))


def claimed(rows: Sequence[Row]) -> Picture:
    """What was claimed beside what is measured."""
    shown = []
    for row in rows:
        found = row.number("fer2013", "accuracy")
        if row.system.claimed is not None:
            name = f"{row.system.name} ({row.model})"
            numbers = (found["value"], found["low"], found["high"])
            shown.append((name, row.system.claimed, *numbers))
    caption = (
        "Accuracy as its authors print it, each by a protocol of their own, and as measured"
        + (f" after {epochs} epochs." if (epochs := _epochs(rows)) else ".")
    )
    return Picture("claimed-and-measured", caption, figures.comparison(shown))


def agreement(rows: Sequence[Row]) -> str:
    """Whether systems that claim more are measured better, in a sentence; empty for too few."""
    # Of a system with several networks here, the best: it is one claim.
    best: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.system.claimed is not None:
            found = row.number("fer2013", "accuracy")["value"]
            best.setdefault(row.system.name, (row.system.claimed, found))
    if len(best) < FEWEST:
        return ""
    correlation = spearmanr(*zip(*best.values(), strict=True)).statistic
    return (
        f"Rank correlation (Spearman) of claimed and measured accuracy over {len(best)} systems: "
        f"{correlation:+.2f}. At +1 the printed numbers would order the systems as they are "
        "ordered here, at 0 they say nothing of that order."
    )


def reasons(rows: Iterable[Row]) -> Table:
    """Why the two differ, as far as it is known."""
    known = {row.system.name: row.system for row in rows if row.system.known}
    return Table(
        "What is known of the printed numbers.",
        ("system", "claimed", "what is known of it"),
        [(name, system.claimed, system.known) for name, system in known.items()],
    )


def _section(result: Mapping, section: str) -> Mapping:
    heads = result["heads"]
    first, second = ("votes", "labels") if _of_votes(section) else ("labels", "votes")
    return heads.get(first, heads.get(second, {})).get(section, {})


def _of_votes(section: str) -> bool:
    return section.startswith("ferplus") or section == "proportions"


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _epochs(rows: Sequence[Row]) -> str:
    """How long the systems were trained, as far as it is known."""
    known = sorted({row.config["epochs"] for row in rows if row.config})
    return _span(known) if known else ""


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
