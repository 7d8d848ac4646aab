"""Read result files, and format numbers and Markdown tables.

A score in a result file is a dictionary with `value`, and with the bounds `low` and `high` of its
95 % interval.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results"


def read_result(name: str) -> dict:
    """Read `results/NAME.json`."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format a Markdown table; all columns but the first are aligned to the right."""
    header = list(header)
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def percent(fraction: float, digits: int = 0) -> str:
    """Format 0.617 as `62 %`."""
    return f"{100 * fraction:.{digits}f} %"


def percent_with_interval(score: dict) -> str:
    """Format a score between 0 and 1 as `61.7 % (60.1 to 63.3)`."""
    low, high = 100 * score["low"], 100 * score["high"]
    return f"{percent(score['value'], 1)} ({low:.1f} to {high:.1f})"


def with_interval(score: dict, digits: int = 3, factor: float = 1.0, sign: str = "") -> str:
    """Format a score multiplied by a factor as `0.245 (0.236 to 0.255)`.

    Args:
        score: The score.
        digits: Number of decimal places.
        factor: For example 100 for percentage points.
        sign: "+" to show the sign of positive numbers, too.
    """
    numbers = [factor * score[key] for key in ("value", "low", "high")]
    value, low, high = (f"{number:{sign}.{digits}f}" for number in numbers)
    return f"{value} ({low} to {high})"


def millions(count: float) -> str:
    """Format 20040000 as `20.04 M`."""
    return f"{count / 1e6:.2f} M"
