"""Measure how well a second panel of raters agrees with the first, on near duplicates.

    python benchmarks/votes.py --data fer2013/

Exact duplicates in FER2013 have identical votes in FER+, so they hold no second panel. Near
duplicates (the same photograph, cropped or scaled slightly differently) were rated separately. This
script pairs them over Training and PublicTest and writes results/votes.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mien.lab import data, duplicates, metrics, runs

ROOT = Path(__file__).parent.parent

MIN_CORRELATIONS = (0.95, 0.98, 0.99)
"""The higher the correlation of a pair, the less its two crops differ, and the fewer pairs."""

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

MEASURES: dict[str, Measure] = {
    "largest_share": lambda first, *_: float(first.max(1).mean()),
    "share_by_other_panel": lambda first, second, _: float(
        second[np.arange(len(first)), first.argmax(1)].mean()
    ),
    "same_dominant_emotion": lambda first, second, _: float(
        (first.argmax(1) == second.argmax(1)).mean()
    ),
    # The squared difference of two independent panels is twice the squared error of one.
    "brier_of_one_panel": lambda first, second, _: metrics.brier(first, second) / 2,
    "brier_from_sampling": lambda first, _, raters: float(
        ((1 - (first**2).sum(1)) / (raters - 1)).mean()
    ),
}
"""Measure -> function of the (N, 7) shares of two panels and the (N,) raters of the first. The last
is the unbiased estimate of the squared error of one panel from that panel alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    splits = data.load(parser.parse_args().data)
    faces = data.concatenate(splits["train"], splits["val"])
    first = data.duplicate_groups(faces.faces)
    copies = first != np.arange(len(faces))
    unique = faces.select(~copies)
    pairs, _ = duplicates.near_pairs(unique.faces)
    correlations = duplicates.correlations(unique.faces, pairs)
    result = {
        "data": data.describe({name: splits[name] for name in ("train", "val")}),
        "exact_copies": {
            "faces": int(copies.sum()),
            "identical_votes": int((faces.votes == faces.votes[first]).all(1)[copies].sum()),
        },
        "near_duplicates": [
            measure(unique.votes, pairs[correlations > minimum], minimum)
            for minimum in MIN_CORRELATIONS
        ],
        "environment": runs.about(),
    }
    runs.write_json(ROOT / "results" / "votes.json", result)
    print(result["exact_copies"], *result["near_duplicates"], sep="\n")


def measure(votes: np.ndarray, pairs: np.ndarray, min_correlation: float) -> dict:
    """Compare the votes of the (N, 2) pairs, each in both directions, with 95 % intervals."""
    enough, _ = data.seven_shares(votes)
    pairs = pairs[enough[pairs].all(1)]
    counts = votes[:, :7].astype(float)
    raters = counts.sum(1)
    shares = counts / np.maximum(raters[:, None], 1)
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    arrays, clusters = (
        (shares[first], shares[second], raters[first]),
        np.arange(len(first)) % len(pairs),
    )
    result: dict = {"min_correlation": min_correlation, "pairs": len(pairs)}
    for name, function in MEASURES.items():
        low, high = metrics.interval(function, *arrays, clusters=clusters)
        result[name] = {"value": function(*arrays), "low": low, "high": high}
    return result


if __name__ == "__main__":
    main()
