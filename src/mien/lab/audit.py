"""Dataset audit: duplicates within and across splits, doubtful labels, images without a face.

`audit` compares all faces once; everything else here reads its findings.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.io import atomic_file
from mien.lab import duplicates
from mien.lab.data import VOTE_NAMES, Samples, concatenate, majority, plurality
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

SPLITS = ("train", "val", "test")
"""In this order: a duplicate across two splits counts against the later one."""

VOTES = tuple(name.replace("_", " ") for name in VOTE_NAMES)
NOT_A_FACE, NO_EMOTION = 9, slice(8, 10)
RATER_SCORES = ("plurality_agrees", "vote_share", "no_votes")


Table = tuple[str, tuple[str, ...], list[tuple]]
"""Title, columns, rows."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The faces of all splits of a dataset, and all duplicate pairs among them.

    Attributes:
        names: the splits.
        split: (N,) int, the index into `names` of each face.
        samples: the N faces.
        exact: (M, 2) int, pairs with identical pixels; in every pair the earlier face is first.
        near: (M, 2) int, pairs that correlate by more than `duplicates.NEAR`, exact ones
            included; None after a quick audit.
        mirrored: (M, 2) int, pairs that do so only if one face is mirrored; None after a quick
            audit.
    """

    names: tuple[str, ...]
    split: np.ndarray
    samples: Samples
    exact: np.ndarray
    near: np.ndarray | None
    mirrored: np.ndarray | None


def audit(
    splits: dict[str, Samples],
    *,
    quick: bool = False,
    on_progress: duplicates.OnProgress | None = None,
) -> Audit:
    """Compare all faces of a dataset with each other.

    Args:
        splits: split name -> samples.
        quick: skip the near duplicates, which take a minute on FER2013.
        on_progress: called with the number of faces compared and the total.
    """
    names = tuple(name for name in SPLITS if name in splits)
    parts = [splits[name] for name in names]
    pooled = concatenate(*parts)
    split = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    near, mirrored = (
        (None, None) if quick else duplicates.near_pairs(pooled.faces, on_progress=on_progress)
    )
    return Audit(names, split, pooled, duplicates.exact_pairs(pooled.faces), near, mirrored)


# Duplicates


def _duplicates_of_earlier_split(audited: Audit, pairs: np.ndarray) -> np.ndarray:
    """The faces that have a duplicate in an earlier split."""
    splits = audited.split[pairs]
    return pairs[splits[:, 0] < splits[:, 1], 1]


def conflicting_pairs(audited: Audit) -> np.ndarray:
    """The pairs of exact duplicates with different labels: (M, 2)."""
    labels = audited.samples.labels[audited.exact]
    return audited.exact[(labels[:, 0] != labels[:, 1]) & (labels >= 0).all(1)]


def first_of_each_group(audited: Audit, pairs: np.ndarray) -> np.ndarray:
    """The first pair of each group of exact duplicates: (M, 2) -> (K, 2)."""
    contents = [audited.samples.faces[face].tobytes() for face in pairs[:, 0]]
    return pairs[np.sort(np.unique(np.array(contents, object), return_index=True)[1])]


# Faces


def labels_text(audited: Audit, faces: np.ndarray) -> str:
    """The labels of faces as text, separated by bars: `"angry | sad"`."""
    labels = audited.samples.labels[faces]
    return " | ".join(EMOTIONS[k] if k >= 0 else "no label" for k in labels)


def not_a_face(samples: Samples) -> np.ndarray:
    """Which images all raters call "not a face": (N,) bool."""
    return samples.votes.any(1) & (samples.votes[:, NOT_A_FACE] == samples.votes.sum(1))


def no_emotion(samples: Samples) -> np.ndarray:
    """Which images most raters call "unknown" or "not a face": (N,) bool."""
    return 2 * samples.votes[:, NO_EMOTION].sum(1) > samples.votes.sum(1)


def rejected_labels(samples: Samples) -> np.ndarray:
    """The faces to which all raters give one emotion other than the label: (M,) int, by label."""
    unanimous = samples.votes[:, : len(EMOTIONS_AND_CONTEMPT)].max(1) == samples.votes.sum(1)
    rated = samples.votes.any(1) & (samples.labels >= 0)
    faces = np.flatnonzero(unanimous & rated & (_votes_on_label(samples) == 0))
    return faces[np.argsort(samples.labels[faces], kind="stable")]


def _votes_on_label(samples: Samples) -> np.ndarray:
    return samples.votes[np.arange(len(samples)), samples.labels]


# Summary


def summary(audited: Audit) -> dict:
    """The findings as numbers, ready for JSON."""
    splits = {
        name: audited.samples.select(audited.split == k) for k, name in enumerate(audited.names)
    }
    return {
        "classes": {name: _class_counts(samples) for name, samples in splits.items()},
        "splits": {name: _counts(samples) for name, samples in splits.items()},
        "duplicate_faces": _duplicate_count(audited.exact),
        "duplicates": _duplicates_by_split(audited),
        "conflicting_labels": _conflicting_labels(audited),
        "raters": {
            name: rater_agreement(samples) for name, samples in splits.items() if samples.has_votes
        },
    }


def _class_counts(samples: Samples) -> dict[str, int]:
    return {label: int((samples.labels == k).sum()) for k, label in enumerate(EMOTIONS)}


def _counts(samples: Samples) -> dict[str, int]:
    masks = {
        "flat": duplicates.is_flat(samples.faces),
        "rated": samples.votes.any(1),
        "majority": majority(samples.votes) >= 0,
        "plurality": plurality(samples.votes) >= 0,
        "not_a_face": not_a_face(samples),
        "no_emotion": no_emotion(samples),
    }
    duplicate_faces = _duplicate_count(duplicates.exact_pairs(samples.faces))
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return {"all": len(samples), "duplicate_faces": duplicate_faces, **counts}


def _duplicate_count(exact: np.ndarray) -> int:
    """How many faces are duplicates of an earlier one."""
    return len(np.unique(exact[:, 1]))


def _duplicates_by_split(audited: Audit) -> list[dict]:
    kinds = {"exact": audited.exact, "near": audited.near, "mirrored": audited.mirrored}
    return [
        {
            "kind": kind,
            "split": split,
            "duplicate_in": other,
            **_between_splits(audited, pairs, k, earlier),
        }
        for kind, pairs in kinds.items()
        if pairs is not None
        for k, split in enumerate(audited.names)
        for earlier, other in enumerate(audited.names[: k + 1])
    ]


def _between_splits(audited: Audit, pairs: np.ndarray, split: int, other: int) -> dict:
    """The faces of one split that have a duplicate in another, or in the same one.

    `same_label` is the share of a face's duplicates that carry its label, averaged over faces.
    """
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    face, duplicate = both_ways[(audited.split[both_ways] == (split, other)).all(1)].T
    same = audited.samples.labels[face] == audited.samples.labels[duplicate]
    faces, index, count = np.unique(face, return_inverse=True, return_counts=True)
    shares = np.bincount(index, same, len(faces)) / count
    return {
        "pairs": len(face) // (2 if split == other else 1),
        "faces": len(faces),
        "share": len(faces) / int((audited.split == split).sum()),
        "same_label": float(shares.mean()) if len(faces) else None,
    }


def _conflicting_labels(audited: Audit) -> dict:
    """Groups of exact duplicates whose labels differ: groups, faces, and the first two labels."""
    pairs = conflicting_pairs(audited)
    groups = first_of_each_group(audited, pairs)
    labels = Counter(
        labels_text(audited, pair[audited.samples.labels[pair].argsort()]) for pair in groups
    )
    faces = len(np.unique(pairs))
    return {"groups": len(groups), "faces": faces, "labels": dict(labels.most_common())}


def rater_agreement(samples: Samples) -> dict[str, dict[str, float]]:
    """How far FER+ raters agree with the labels.

    Returns:
        Each label that occurs, and "all" -> `plurality_agrees`, the share of faces whose plurality
        is the label; `vote_share`, the mean share of votes on the label; `no_votes`, the share of
        faces without a vote for the label.
    """
    rated = samples.select(samples.votes.any(1) & (samples.labels >= 0))
    on_label = _votes_on_label(rated)
    scores = (
        plurality(rated.votes) == rated.labels,
        on_label / rated.votes.sum(1),
        on_label == 0,
    )
    masks = {label: rated.labels == k for k, label in enumerate(EMOTIONS)}
    return {
        label: {name: float(x[mask].mean()) for name, x in zip(RATER_SCORES, scores, strict=True)}
        for label, mask in (masks | {"all": rated.labels >= 0}).items()
        if mask.any()
    }


def tables(numbers: dict) -> Iterator[Table]:
    """The summary as tables to print."""
    names, conflicts = tuple(numbers["splits"]), numbers["conflicting_labels"]
    counts = [numbers["classes"][name] | numbers["splits"][name] for name in names]
    rows = [(key.replace("_", " "), *(split[key] for split in counts)) for key in counts[0]]
    yield "", ("faces", *names), rows
    title = f"{numbers['duplicate_faces']:,} faces are exact duplicates of an earlier one"
    rows = [tuple("" if x is None else x for x in row.values()) for row in numbers["duplicates"]]
    columns = ("duplicates", "split", "duplicate in", "pairs", "faces", "share", "same label")
    yield title, columns, rows
    if conflicts["groups"]:
        title = (
            f"{conflicts['groups']} groups of exact duplicates ({conflicts['faces']} faces) "
            "have conflicting labels"
        )
        yield title, ("labels", "groups"), list(conflicts["labels"].items())[:6]
    if numbers["raters"]:
        yield _rater_table(numbers["raters"])


def _rater_table(splits: dict) -> Table:
    titles = [name.replace("_", " ") for name in RATER_SCORES]
    columns = tuple(f"{title}\n{split}" for title in titles for split in splits)
    rows = []
    for label in (*EMOTIONS, "all"):
        scores = [split.get(label, dict.fromkeys(RATER_SCORES, "")) for split in splits.values()]
        rows.append((label, *(one[name] for name in RATER_SCORES for one in scores)))
    title = "FER+ raters against the labels: plurality agrees, vote share, no votes at all"
    return title, ("label", *columns), rows


# The clean evaluation set


def exclusions(audited: Audit) -> dict[str, np.ndarray]:
    """The faces of val and test that a clean evaluation excludes: reason -> (M,) indices.

    Each face has the first reason that applies: a duplicate in an earlier split (exact; near,
    mirrored or not); an exact duplicate with another label; no rater, or not most, saw a face
    with an emotion. A flat image is not a face.
    """
    near = [pairs for pairs in (audited.near, audited.mirrored) if pairs is not None]
    reasons = {
        "exact-duplicate": _duplicates_of_earlier_split(audited, audited.exact),
        "near-duplicate": _duplicates_of_earlier_split(
            audited, np.concatenate([audited.exact, *near])
        ),
        "conflicting-labels": conflicting_pairs(audited).ravel(),
        "not-a-face": np.flatnonzero(
            not_a_face(audited.samples) | duplicates.is_flat(audited.samples.faces)
        ),
        "no-emotion": np.flatnonzero(no_emotion(audited.samples)),
    }
    remaining = np.array(audited.names)[audited.split] != "train"
    excluded = {}
    for reason, faces in reasons.items():
        excluded[reason] = np.intersect1d(faces, np.flatnonzero(remaining))
        remaining[faces] = False
    return excluded


def write_exclusions(path: Path, audited: Audit) -> None:
    """Write row, split and reason of each face that a clean evaluation excludes, as CSV."""
    excluded = [(int(k), reason) for reason, faces in exclusions(audited).items() for k in faces]
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("row", "split", "reason"))
        for k, reason in sorted(excluded):
            out.writerow((audited.samples.rows[k], audited.names[audited.split[k]], reason))
