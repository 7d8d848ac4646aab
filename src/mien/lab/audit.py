"""Dataset audit: duplicates within and across splits, doubtful labels, images without a face.

`audit_dataset` compares all faces with each other; the findings are computed from its result.
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
"""Splits in order. Of duplicates in two splits, the one in the later split is excluded."""

VOTE_CLASSES = tuple(name.replace("_", " ") for name in VOTE_NAMES)
"""The choices of a rater, in the order of the votes, as displayed."""

NOT_A_FACE_COLUMN = 9
"""Column of the votes for "not a face"."""

NO_EMOTION_COLUMNS = slice(8, 10)
"""Columns of the votes for "unknown" and "not a face"."""

RATER_SCORES = ("plurality_agrees", "vote_share", "no_votes_for_label")
"""The scores of `rater_agreement`."""

MAX_CONFLICT_ROWS = 6
"""Maximum number of rows in the table of conflicting labels."""

SummaryTable = tuple[str, tuple[str, ...], list[tuple]]
"""Title, column names and rows of a table of `tables`; `"\\n"` breaks the line in a name."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The faces of all splits of a dataset, and all duplicate pairs among them.

    Attributes:
        split_names: The names of the splits.
        split_indices: (N,) int, the split of each face as an index into `split_names`.
        samples: The N faces of all splits.
        exact_pairs: (M, 2) int, face indices of the pairs with identical pixels. In pairs of all
            kinds, the lower index is first.
        near_pairs: (M, 2) int, pairs of near duplicates as defined in `mien.lab.duplicates`,
            including exact duplicates; None after a quick audit.
        mirrored_pairs: (M, 2) int, pairs that are near duplicates only if one face is mirrored;
            None after a quick audit.
    """

    split_names: tuple[str, ...]
    split_indices: np.ndarray
    samples: Samples
    exact_pairs: np.ndarray
    near_pairs: np.ndarray | None
    mirrored_pairs: np.ndarray | None


def audit_dataset(
    splits: dict[str, Samples],
    *,
    quick: bool = False,
    on_progress: duplicates.OnProgress | None = None,
) -> Audit:
    """Compare all faces of a dataset with each other, within and across splits.

    Args:
        splits: Split name -> samples. Only the splits in `SPLITS` are compared.
        quick: Do not search for near duplicates, which takes a minute on FER2013.
        on_progress: Called with the number of faces compared so far and the total number.

    Returns:
        The faces, in the order of `SPLITS`, and their pairs of duplicates.
    """
    names = tuple(name for name in SPLITS if name in splits)
    samples = concatenate(*(splits[name] for name in names))
    split_indices = np.repeat(np.arange(len(names)), [len(splits[name]) for name in names])
    exact = duplicates.exact_pairs(samples.faces)
    if quick:
        return Audit(names, split_indices, samples, exact, None, None)
    near, mirrored = duplicates.near_pairs(samples.faces, on_progress=on_progress)
    return Audit(names, split_indices, samples, exact, near, mirrored)


# Duplicates


def conflicting_pairs(audit: Audit) -> np.ndarray:
    """Return the (M, 2) pairs of exact duplicates that both have a label, but not the same."""
    labels = audit.samples.labels[audit.exact_pairs]
    is_conflict = (labels[:, 0] != labels[:, 1]) & (labels >= 0).all(1)
    return audit.exact_pairs[is_conflict]


def first_pair_of_each_group(audit: Audit, pairs: np.ndarray) -> np.ndarray:
    """Return the first pair of each group of identical faces: (M, 2) exact pairs -> (K, 2)."""
    contents = [audit.samples.faces[face_index].tobytes() for face_index in pairs[:, 0]]
    _, first_indices = np.unique(np.array(contents, object), return_index=True)
    return pairs[np.sort(first_indices)]


# Faces


def labels_text(audit: Audit, face_indices: np.ndarray) -> str:
    """Join the label names of faces, as in `"angry | sad"`."""
    labels = audit.samples.labels[face_indices]
    return " | ".join(EMOTIONS[k] if k >= 0 else "no label" for k in labels)


def is_rated_not_a_face(samples: Samples) -> np.ndarray:
    """Return (N,) bool: whether an image has votes, all of them for "not a face"."""
    return samples.votes.any(1) & (samples.votes[:, NOT_A_FACE_COLUMN] == samples.votes.sum(1))


def is_rated_without_emotion(samples: Samples) -> np.ndarray:
    """Return (N,) bool: whether over half of a face's votes are "unknown" or "not a face"."""
    return 2 * samples.votes[:, NO_EMOTION_COLUMNS].sum(1) > samples.votes.sum(1)


def faces_with_rejected_label(samples: Samples) -> np.ndarray:
    """Return the indices of faces whose raters all chose one emotion that is not the label.

    Returns:
        (M,) int, sorted by label and then by index.
    """
    is_unanimous = samples.votes[:, : len(EMOTIONS_AND_CONTEMPT)].max(1) == samples.votes.sum(1)
    has_both = samples.votes.any(1) & (samples.labels >= 0)
    face_indices = np.flatnonzero(is_unanimous & has_both & (_votes_for_label(samples) == 0))
    return face_indices[np.argsort(samples.labels[face_indices], kind="stable")]


def _votes_for_label(samples: Samples) -> np.ndarray:
    """Return the (N,) votes for the label of each face; undefined for faces without a label."""
    return samples.votes[np.arange(len(samples)), samples.labels]


# Summary


def summary(audit: Audit) -> dict:
    """Return the counts and fractions of an audit, as a JSON-serializable dictionary.

    Returns:
        - `classes`: split -> label -> number of faces.
        - `splits`: split -> property -> number of faces, such as `rated` (with votes).
        - `duplicates_of_earlier_faces`: number of faces with the same pixels as an earlier face of
          any split.
        - `duplicates`: a list with one entry for each kind of duplicates and pair of splits. It has
          the number of pairs; the number and the fraction of the faces of `split` that have a
          duplicate in `duplicate_in`; and as `same_label` the mean fraction of a face's duplicates
          that have its label, None without duplicates.
        - `conflicting_labels`: the exact duplicates whose labels differ: the number of groups of
          identical faces, the number of faces, and the number of groups for each pair of labels.
        - `raters`: split -> result of `rater_agreement`, for splits with votes.
    """
    splits = {
        name: audit.samples.select(audit.split_indices == k)
        for k, name in enumerate(audit.split_names)
    }
    return {
        "classes": {name: _count_labels(samples) for name, samples in splits.items()},
        "splits": {name: _count_properties(samples) for name, samples in splits.items()},
        "duplicates_of_earlier_faces": _count_duplicates_of_earlier_faces(audit.exact_pairs),
        "duplicates": _duplicates_by_split(audit),
        "conflicting_labels": _count_conflicting_labels(audit),
        "raters": {
            name: rater_agreement(samples) for name, samples in splits.items() if samples.has_votes
        },
    }


def _count_labels(samples: Samples) -> dict[str, int]:
    return {label: int((samples.labels == k).sum()) for k, label in enumerate(EMOTIONS)}


def _count_properties(samples: Samples) -> dict[str, int]:
    """Count all faces of a split, and the faces with each of several properties."""
    masks = {
        "one_gray_level": duplicates.is_flat(samples.faces),
        "rated": samples.votes.any(1),
        "majority": majority(samples.votes) >= 0,
        "plurality": plurality(samples.votes) >= 0,
        "not_a_face": is_rated_not_a_face(samples),
        "no_emotion": is_rated_without_emotion(samples),
    }
    exact_pairs = duplicates.exact_pairs(samples.faces)
    return {
        "all": len(samples),
        "duplicates_of_earlier_faces": _count_duplicates_of_earlier_faces(exact_pairs),
        **{name: int(mask.sum()) for name, mask in masks.items()},
    }


def _count_duplicates_of_earlier_faces(exact_pairs: np.ndarray) -> int:
    """Count the faces with the same pixels as an earlier face."""
    return len(np.unique(exact_pairs[:, 1]))


def _duplicates_by_split(audit: Audit) -> list[dict]:
    kinds = {"exact": audit.exact_pairs, "near": audit.near_pairs, "mirrored": audit.mirrored_pairs}
    return [
        {
            "kind": kind,
            "split": split,
            "duplicate_in": other_split,
            **_count_duplicates(audit, pairs, k, other_k),
        }
        for kind, pairs in kinds.items()
        if pairs is not None
        for k, split in enumerate(audit.split_names)
        for other_k, other_split in enumerate(audit.split_names[: k + 1])
    ]


def _count_duplicates(audit: Audit, pairs: np.ndarray, split: int, other: int) -> dict:
    """Count the faces of `split` that have a duplicate in `other`, which may be the same split."""
    ordered_pairs = np.concatenate([pairs, pairs[:, ::-1]])
    is_selected = (audit.split_indices[ordered_pairs] == (split, other)).all(1)
    face_indices, duplicate_indices = ordered_pairs[is_selected].T
    labels = audit.samples.labels
    is_same_label = labels[face_indices] == labels[duplicate_indices]
    unique_faces, inverse, counts = np.unique(face_indices, return_inverse=True, return_counts=True)
    fractions = np.bincount(inverse, is_same_label, len(unique_faces)) / counts
    return {
        "pairs": len(face_indices) // (2 if split == other else 1),
        "faces_with_duplicate": len(unique_faces),
        "fraction_of_split": len(unique_faces) / int((audit.split_indices == split).sum()),
        "same_label": float(fractions.mean()) if len(unique_faces) else None,
    }


def _count_conflicting_labels(audit: Audit) -> dict:
    """Count the exact duplicates with different labels: groups, faces, and groups by labels.

    A group is counted under the labels of its first conflicting pair.
    """
    pairs = conflicting_pairs(audit)
    first_pairs = first_pair_of_each_group(audit, pairs)
    sorted_by_label = [pair[audit.samples.labels[pair].argsort()] for pair in first_pairs]
    labels = Counter(labels_text(audit, pair) for pair in sorted_by_label)
    faces = len(np.unique(pairs))
    return {"groups": len(first_pairs), "faces": faces, "labels": dict(labels.most_common())}


def rater_agreement(samples: Samples) -> dict[str, dict[str, float]]:
    """Measure how well FER+ raters agree with the labels, on faces that have votes and a label.

    Returns:
        Label, or "all" -> scores, each 0 to 1. Labels that no face has are missing. The scores:

        - `plurality_agrees`: the fraction of faces whose label has more votes than any other
          choice.
        - `vote_share`: the mean fraction of a face's votes that are for its label.
        - `no_votes_for_label`: the fraction of faces without a vote for their label.
    """
    rated = samples.select(samples.votes.any(1) & (samples.labels >= 0))
    votes_for_label = _votes_for_label(rated)
    scores = (
        plurality(rated.votes) == rated.labels,
        votes_for_label / rated.votes.sum(1),
        votes_for_label == 0,
    )
    masks = {label: rated.labels == k for k, label in enumerate(EMOTIONS)}
    masks["all"] = rated.labels >= 0
    return {
        label: {
            name: float(score[mask].mean())
            for name, score in zip(RATER_SCORES, scores, strict=True)
        }
        for label, mask in masks.items()
        if mask.any()
    }


def tables(summarized: dict) -> Iterator[SummaryTable]:
    """Yield the tables that display the result of `summary`."""
    names = tuple(summarized["splits"])
    counts = [summarized["classes"][name] | summarized["splits"][name] for name in names]
    rows = [(key.replace("_", " "), *(split[key] for split in counts)) for key in counts[0]]
    yield "", ("number of faces", *names), rows
    yield _duplicates_table(summarized["duplicates"], summarized["duplicates_of_earlier_faces"])
    if summarized["conflicting_labels"]["groups"]:
        yield _conflicts_table(summarized["conflicting_labels"])
    if summarized["raters"]:
        yield _rater_table(summarized["raters"])


def _duplicates_table(duplicates_by_split: list[dict], exact_duplicates: int) -> SummaryTable:
    title = (
        "Duplicates within and across splits "
        f"({exact_duplicates:,} faces are exact duplicates of earlier faces)"
    )
    columns = {
        "kind": "kind",
        "split": "split",
        "duplicate_in": "duplicate\nin",
        "pairs": "pairs",
        "faces_with_duplicate": "faces with\nduplicate",
        "fraction_of_split": "fraction\nof split",
        "same_label": "same\nlabel",
    }
    rows = [
        tuple("" if row[key] is None else row[key] for key in columns)
        for row in duplicates_by_split
    ]
    return title, tuple(columns.values()), rows


def _conflicts_table(conflicts: dict) -> SummaryTable:
    title = (
        f"{conflicts['groups']} groups of exact duplicates ({conflicts['faces']} faces) "
        "have conflicting labels"
    )
    rows = list(conflicts["labels"].items())[:MAX_CONFLICT_ROWS]
    return title, ("most frequent labels", "groups"), rows


def _rater_table(splits: dict) -> SummaryTable:
    titles = [name.replace("_", " ") for name in RATER_SCORES]
    columns = tuple(f"{title}\n{split}" for title in titles for split in splits)
    rows = []
    for label in (*EMOTIONS, "all"):
        scores = [split.get(label, dict.fromkeys(RATER_SCORES, "")) for split in splits.values()]
        rows.append((label, *(row[name] for name in RATER_SCORES for row in scores)))
    title = "Agreement of FER+ raters with the labels, as fractions of faces and of votes"
    return title, ("label", *columns), rows


# The clean evaluation set


def exclusions(audit: Audit) -> dict[str, np.ndarray]:
    """Return the faces of val and test to exclude from a clean evaluation, by reason.

    The reasons are:

    - `exact-duplicate`: an earlier split has an exact duplicate of the face.
    - `near-duplicate`: an earlier split has a near duplicate, mirrored or not; after a quick audit
      no face has this reason.
    - `conflicting-labels`: the face has an exact duplicate with another label, in any split.
    - `not-a-face`: all votes are for "not a face", or the image has only one gray level.
    - `no-emotion`: over half of the votes are for "unknown" or "not a face".

    Returns:
        Reason -> (M,) face indices. Each face is listed once, for the first reason that applies.
    """
    near = [pairs for pairs in (audit.near_pairs, audit.mirrored_pairs) if pairs is not None]
    # With the exact pairs, the list of pairs is not empty after an audit without near duplicates.
    reasons = {
        "exact-duplicate": _duplicates_of_earlier_split(audit, audit.exact_pairs),
        "near-duplicate": _duplicates_of_earlier_split(
            audit, np.concatenate([audit.exact_pairs, *near])
        ),
        "conflicting-labels": conflicting_pairs(audit).ravel(),
        "not-a-face": np.flatnonzero(
            is_rated_not_a_face(audit.samples) | duplicates.is_flat(audit.samples.faces)
        ),
        "no-emotion": np.flatnonzero(is_rated_without_emotion(audit.samples)),
    }
    is_candidate = np.array(audit.split_names)[audit.split_indices] != "train"
    excluded = {}
    for reason, face_indices in reasons.items():
        excluded[reason] = np.intersect1d(face_indices, np.flatnonzero(is_candidate))
        is_candidate[face_indices] = False
    return excluded


def _duplicates_of_earlier_split(audit: Audit, pairs: np.ndarray) -> np.ndarray:
    """Return the indices of the faces with a duplicate in an earlier split, possibly repeated."""
    splits = audit.split_indices[pairs]
    is_across_splits = splits[:, 0] < splits[:, 1]
    return pairs[is_across_splits, 1]


def write_exclusions(path: Path, audit: Audit) -> None:
    """Write a CSV file with the row of the dataset, split and reason of each excluded face."""
    reasons = {
        int(k): reason for reason, face_indices in exclusions(audit).items() for k in face_indices
    }
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "split", "reason"))
        for k, reason in sorted(reasons.items()):
            writer.writerow(
                (audit.samples.rows[k], audit.split_names[audit.split_indices[k]], reason)
            )
