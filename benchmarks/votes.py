"""Measure how well a second panel of raters agrees with the first, on near duplicates.

    python benchmarks/votes.py --data fer2013/

Exact duplicates in FER2013 have identical votes in FER+, so they were not rated a second time. Near
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
"""Thresholds for the correlation of the two crops of a pair. With a higher threshold, the crops are
more similar, but there are fewer pairs."""

Statistic = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Function of the (N, 7) shares of two panels and the (N,) numbers of votes of the first."""

STATISTICS: dict[str, Statistic] = {
    "largest_share": lambda first, *_: float(first.max(1).mean()),
    "other_panel_share_of_dominant_emotion": lambda first, second, _: float(
        second[np.arange(len(first)), first.argmax(1)].mean()
    ),
    "same_dominant_emotion": lambda first, second, _: float(
        (first.argmax(1) == second.argmax(1)).mean()
    ),
    # The expected squared difference of two independent panels is twice the expected squared error
    # of one.
    "brier_of_one_panel": lambda first, second, _: metrics.brier(first, second) / 2,
    "brier_from_sampling": lambda first, _, vote_counts: float(
        ((1 - (first**2).sum(1)) / (vote_counts - 1)).mean()
    ),
}
"""Statistics of a pair of panels by name.

`brier_from_sampling` is the unbiased estimate of the squared error of one panel from that panel
alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    splits = data.load(parser.parse_args().data)
    faces = data.concatenate(splits["train"], splits["val"])
    first_copy = data.duplicate_groups(faces.faces)
    is_copy = first_copy != np.arange(len(faces))
    unique = faces.select(~is_copy)
    pairs, _ = duplicates.near_pairs(unique.faces)
    correlations = duplicates.correlations(unique.faces, pairs)
    result = {
        "data": data.describe({name: splits[name] for name in ("train", "val")}),
        "exact_duplicates": {
            "faces": int(is_copy.sum()),
            "identical_votes": int((faces.votes == faces.votes[first_copy]).all(1)[is_copy].sum()),
        },
        "near_duplicates": [
            compare_votes(unique.votes, pairs[correlations > minimum], minimum)
            for minimum in MIN_CORRELATIONS
        ],
        "environment": runs.environment(),
    }
    runs.write_json(ROOT / "results" / "votes.json", result)
    print(result["exact_duplicates"], *result["near_duplicates"], sep="\n")


def compare_votes(votes: np.ndarray, pairs: np.ndarray, min_correlation: float) -> dict:
    """Compare the votes of pairs of near duplicates, each pair in both directions.

    Args:
        votes: (F, 10) votes of all faces.
        pairs: (N, 2) indices of faces. Pairs with a face without enough votes are omitted.
        min_correlation: Threshold by which the pairs were selected; only stored.

    Returns:
        The threshold, the number of compared pairs, and each of `STATISTICS` with its 95 %
        interval.
    """
    has_enough_votes, _ = data.seven_shares(votes)
    pairs = pairs[has_enough_votes[pairs].all(1)]
    counts = votes[:, :7].astype(float)
    vote_counts = counts.sum(1)
    shares = counts / np.maximum(vote_counts[:, None], 1)
    first_rows, second_rows = np.concatenate([pairs, pairs[:, ::-1]]).T
    arrays = shares[first_rows], shares[second_rows], vote_counts[first_rows]
    clusters = np.arange(len(first_rows)) % len(pairs)  # both directions of a pair are dependent
    result: dict = {"min_correlation": min_correlation, "pairs": len(pairs)}
    for name, function in STATISTICS.items():
        low, high = metrics.interval(function, *arrays, clusters=clusters)
        result[name] = {"value": function(*arrays), "low": low, "high": high}
    return result


if __name__ == "__main__":
    main()
