"""Probabilities and the truth -> every number that mien publishes of a model.

What is measured, and why, is the list of rules in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from mien.lab import data, duplicates, metrics
from mien.lab.data import Samples
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

PROPORTIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "kl_nats": lambda said, votes: metrics.kl_divergence(votes, said).mean(),
    "brier": metrics.brier,
    "share_calibration_error": metrics.share_calibration_error,
    "top_label_gap": metrics.top_label_gap,
    "top_label_error": metrics.top_label_error,
    "js_bits": lambda said, votes: metrics.js_divergence(votes, said).mean(),
}
"""How predicted shares are held against shares of votes: (N, 7), (N, 7) -> a number."""

BINNED = (
    metrics.calibration_error, metrics.share_calibration_error, metrics.top_label_error
)  # fmt: skip
"""Errors of bins, of which a bootstrap has more than the sample."""

PANELS = 100
"""So often are raters drawn, to see what chance alone does."""


def measure(
    probabilities: np.ndarray,
    samples: Samples,
    train: Samples | None = None,
    resamples: int = 1000,
) -> dict:
    """Every number that mien publishes of a model.

    Args:
        probabilities: (N, 7) or (N, 8), what it says of the samples.
        samples: the faces that judge it.
        train: the faces that taught it. Twins are in both: the same pixels, or a changed copy of
            the same row; near twins look nearly the same (`mien.lab.duplicates`).
        resamples: of the bootstrap. Copies of a face are drawn together.

    Returns:
        Sections of numbers, each {"value", "low", "high"} with its 95 % interval over faces; those
        of `per_class` and `confusion` are plain, and those of `proportions_by_chance` are the
        sampling floor: what perfect proportions would be measured at by so few raters. Without
        `train` the sections without twins are missing, as is any without a face: FER+'s where
        there are no votes.
    """
    seven = restrict_labels(
        probabilities, EMOTIONS_AND_CONTEMPT[: probabilities.shape[1]], EMOTIONS
    )
    eight = np.pad(probabilities, ((0, 0), (0, 8 - probabilities.shape[1])))
    cases: dict[str, tuple[np.ndarray, np.ndarray, Sequence[str]]] = {
        "fer2013": (seven, samples.labels, EMOTIONS)
    }
    if train is not None:
        taught = data.twins(samples.faces, train.faces) | np.isin(samples.rows, train.rows)
        near = taught | duplicates.near(samples.faces, train.faces)
        for name, known in (("twins", taught), ("near_twins", near)):
            alone = np.where(known, -1, samples.labels)
            cases[f"fer2013_without_{name}"] = (seven, alone, EMOTIONS)
    for name, protocol in (("majority", data.majority), ("plurality", data.plurality)):
        cases[f"ferplus_{name}"] = (eight, protocol(samples.votes), EMOTIONS_AND_CONTEMPT)
    copies = data.groups(samples.faces)
    found = {
        name: labelled(said[judged], truth[judged], labels, resamples, copies[judged])
        for name, (said, truth, labels) in cases.items()
        if (judged := truth >= 0).any()
    }
    asked, shares = data.seven_shares(samples.votes)
    if asked.any():
        said, raters = seven[asked], samples.votes[asked][:, : len(EMOTIONS)].sum(1)
        found["proportions"] = {
            "faces": len(said),
            **{
                name: _estimate(number, said, shares, resamples=resamples, clusters=copies[asked])
                for name, number in PROPORTIONS.items()
            },
        }
        found["proportions_by_chance"] = _by_chance(said, raters, min(resamples, PANELS))
    return found


def summary(probabilities: np.ndarray, samples: Samples) -> dict[str, float]:
    """The few numbers that a model file carries with it; those on votes where there are any."""
    found = measure(probabilities, samples, resamples=1)
    wanted = {
        "labels": ("fer2013", "accuracy"),
        "ferplus": ("ferplus_majority", "accuracy"),
        "kl_nats": ("proportions", "kl_nats"),
        "brier": ("proportions", "brier"),
        "share_error": ("proportions", "share_calibration_error"),
        "top_label_gap": ("proportions", "top_label_gap"),
    }
    return {
        name: round(found[section][number]["value"], 4)
        for name, (section, number) in wanted.items()
        if section in found
    }


def of_each_face(said: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Numbers of single faces, of which a run's are the means: name -> (M,), of those that have it.

    said: `truth` (N,), `raters` (N, 10) and the answers of each head, as a run folder keeps them.
    """
    found = {}
    if "labels" in said and (known := said["truth"] >= 0).any():
        probabilities, truth = said["labels"][known], said["truth"][known]
        found["accuracy"] = (probabilities.argmax(1) == truth).astype(float)
        found["log loss"] = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12))
    if "votes" in said and (known := (truth := data.majority(said["raters"])) >= 0).any():
        found["FER+ accuracy"] = (said["votes"].argmax(1) == truth)[known].astype(float)
    asked, shares = data.seven_shares(said["raters"])
    if "votes" in said and asked.any():
        seven = restrict_labels(said["votes"][asked], EMOTIONS_AND_CONTEMPT, EMOTIONS)
        found["divergence, nats"] = metrics.kl_divergence(shares, seven)
    return found


def paired(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """One run less another, in each number that both have, with a 95 % interval over faces.

    Both: as for `of_each_face`, of the same faces in the same order.
    """
    ours, theirs = of_each_face(one), of_each_face(other)
    return {name: difference(ours[name], theirs[name]) for name in ours if name in theirs}


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """The mean of ours less theirs, (M,) each, paired face by face, with its 95 % interval."""
    low, high = metrics.interval(lambda gain: float(gain.mean()), ours - theirs)
    return {"value": float((ours - theirs).mean()), "low": low, "high": high}


def labelled(
    probabilities: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str] = EMOTIONS,
    resamples: int = 1000,
    clusters: np.ndarray | None = None,
) -> dict:
    """One section of `measure`: (N, K) probabilities against (N,) true classes."""
    estimate = partial(_estimate, resamples=resamples, clusters=clusters)
    count = len(labels)
    guess = probabilities.argmax(1)
    matrix = metrics.confusion(truth, guess, count)
    scores = metrics.per_class(matrix)
    target = np.eye(count)[truth]

    def f1(truth: np.ndarray, guess: np.ndarray) -> float:
        return metrics.macro_f1(metrics.confusion(truth, guess, count))

    return {
        "faces": len(truth),
        "accuracy": estimate(lambda t, g: float((t == g).mean()), truth, guess),
        "macro_f1": estimate(f1, truth, guess),
        "log_loss": estimate(metrics.log_loss, probabilities, truth),
        "brier": estimate(metrics.brier, probabilities, target),
        "calibration_error": estimate(metrics.calibration_error, probabilities, truth),
        "per_class": {
            label: {name: float(values[k]) for name, values in scores.items()}
            for k, label in enumerate(labels)
        },
        "confusion": matrix.tolist(),
    }


def _by_chance(said: np.ndarray, raters: np.ndarray, panels: int) -> dict:
    """What a perfect answer would be measured at, for so few raters are asked of each face.

    said: (N, 7) shares, taken as true; as many raters as were asked, (N,), are drawn from them, so
    many times. Mean and 95 % range over these panels.
    """
    dice = np.random.default_rng(0)
    exact = said.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    found: dict[str, list[float]] = {name: [] for name in PROPORTIONS}
    for _ in range(panels):
        votes = dice.multinomial(raters.astype(np.int64), exact) / raters[:, None]
        for name, number in PROPORTIONS.items():
            found[name].append(float(number(exact, votes)))
    return {"faces": len(said)} | {
        name: {
            "value": float(np.mean(values)),
            "low": float(np.quantile(values, 0.025)),
            "high": float(np.quantile(values, 0.975)),
        }
        for name, values in found.items()
    }


def _estimate(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int,
    clusters: np.ndarray | None = None,
) -> dict:
    low, high = metrics.interval(
        statistic, *arrays, resamples=resamples, basic=statistic in BINNED, clusters=clusters
    )
    return {"value": float(statistic(*arrays)), "low": low, "high": high}
