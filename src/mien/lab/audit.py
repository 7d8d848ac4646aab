"""What a dataset hides: twins within and across its splits, labels in doubt, faces that are none.

`audit` looks at all faces once; all else here reads what it found.
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
from mien.lab.data import VOTE_NAMES, Samples, majority, plurality, together
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

SPLITS = ("train", "val", "test")
"""In this order: a twin counts against the later split of the two."""

VOTES = tuple(name.replace("_", " ") for name in VOTE_NAMES)
NOT_A_FACE, DECLINED = 9, slice(8, 10)
MEASURES = ("agree", "share", "nobody")


Table = tuple[str, tuple[str, ...], list[tuple]]
"""Title, columns, rows."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The faces of a dataset, split after split, and all pairs of twins among them.

    names: the splits. split: (N,) int, a place in `names`. samples: the N faces. exact, near,
    mirrored: (M, 2) int pairs, the earlier face first. `exact` are the same pixel for pixel;
    `near` correlate by more than `duplicates.NEAR`, the exact ones among them; `mirrored` do so
    only if one of the two is mirrored. The last two are None if nobody looked for them.
    """

    names: tuple[str, ...]
    split: np.ndarray
    samples: Samples
    exact: np.ndarray
    near: np.ndarray | None
    mirrored: np.ndarray | None


def audit(
    splits: dict[str, Samples], *, quick: bool = False, watch: duplicates.Watch | None = None
) -> Audit:
    """What there is to find in the splits of a dataset; `quick` leaves out the near twins."""
    names = tuple(name for name in SPLITS if name in splits)
    parts = [splits[name] for name in names]
    everything = together(*parts)
    split = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    near, mirrored = (None, None) if quick else duplicates.alike(everything.faces, watch=watch)
    return Audit(names, split, everything, duplicates.identical(everything.faces), near, mirrored)


# Twins


def _twin_before(found: Audit, pairs: np.ndarray) -> np.ndarray:
    """The faces with a twin in an earlier split."""
    sides = found.split[pairs]
    return pairs[sides[:, 0] < sides[:, 1], 1]


def at_odds(found: Audit) -> np.ndarray:
    """The pairs of exact twins that carry different labels: (M, 2)."""
    labels = found.samples.labels[found.exact]
    return found.exact[(labels[:, 0] != labels[:, 1]) & (labels >= 0).all(1)]


def one_of_each(found: Audit, pairs: np.ndarray) -> np.ndarray:
    """The first pair of each group of exact twins: (M, 2) -> (K, 2)."""
    contents = [found.samples.faces[face].tobytes() for face in pairs[:, 0]]
    return pairs[np.sort(np.unique(np.array(contents, object), return_index=True)[1])]


# Faces


def labels_of(found: Audit, faces: np.ndarray) -> str:
    """The labels of some faces, in words, with bars between them."""
    labels = found.samples.labels[faces]
    return " | ".join(EMOTIONS[k] if k >= 0 else "no label" for k in labels)


def not_a_face(samples: Samples) -> np.ndarray:
    """Which faces no rater takes for one: (N,) bool."""
    return samples.votes.any(1) & (samples.votes[:, NOT_A_FACE] == samples.votes.sum(1))


def no_emotion(samples: Samples) -> np.ndarray:
    """Which faces most raters see no emotion in, or no face: (N,) bool."""
    return 2 * samples.votes[:, DECLINED].sum(1) > samples.votes.sum(1)


def disagree(samples: Samples) -> np.ndarray:
    """The faces that all raters give one emotion, which is not the label: (M,) int, by label."""
    sure = samples.votes[:, : len(EMOTIONS_AND_CONTEMPT)].max(1) == samples.votes.sum(1)
    which = sure & samples.votes.any(1) & (samples.labels >= 0) & (_votes_on_label(samples) == 0)
    found = np.flatnonzero(which)
    return found[np.argsort(samples.labels[found], kind="stable")]


def _votes_on_label(samples: Samples) -> np.ndarray:
    return samples.votes[np.arange(len(samples)), samples.labels]


# Numbers


def summary(found: Audit) -> dict:
    """The findings in numbers, as JSON has them."""
    each = {name: found.samples.take(found.split == k) for k, name in enumerate(found.names)}
    return {
        "classes": {name: _classes(samples) for name, samples in each.items()},
        "splits": {name: _counts(samples) for name, samples in each.items()},
        "copies": _copies(found.exact),
        "twins": _twins(found),
        "conflicts": _conflicts(found),
        "raters": {name: raters(samples) for name, samples in each.items() if samples.voted},
    }


def _classes(samples: Samples) -> dict[str, int]:
    return {label: int((samples.labels == k).sum()) for k, label in enumerate(EMOTIONS)}


def _counts(samples: Samples) -> dict[str, int]:
    masks = {
        "flat": duplicates.flat(samples.faces),
        "rated": samples.votes.any(1),
        "majority": majority(samples.votes) >= 0,
        "plurality": plurality(samples.votes) >= 0,
        "not_a_face": not_a_face(samples),
        "no_emotion": no_emotion(samples),
    }
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return {"all": len(samples), "copies": _copies(duplicates.identical(samples.faces)), **counts}


def _copies(exact: np.ndarray) -> int:
    """How many faces are copies of an earlier one."""
    return len(np.unique(exact[:, 1]))


def _twins(found: Audit) -> list[dict]:
    kinds = {"exact": found.exact, "near": found.near, "mirrored": found.mirrored}
    return [
        {"kind": kind, "of": of, "twin_in": within, **_between(found, pairs, k, earlier)}
        for kind, pairs in kinds.items()
        if pairs is not None
        for k, of in enumerate(found.names)
        for earlier, within in enumerate(found.names[: k + 1])
    ]


def _between(found: Audit, pairs: np.ndarray, of: int, within: int) -> dict:
    """The faces of one split that have a twin in another, or the same; both places in `names`.

    same_label: the share of a face's twins that carry its label, on average.
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    face, twin = both[(found.split[both] == (of, within)).all(1)].T
    same = found.samples.labels[face] == found.samples.labels[twin]
    faces, which, count = np.unique(face, return_inverse=True, return_counts=True)
    shares = np.bincount(which, same, len(faces)) / count
    return {
        "pairs": len(face) // (2 if of == within else 1),
        "faces": len(faces),
        "share": len(faces) / int((found.split == of).sum()),
        "same_label": float(shares.mean()) if len(faces) else None,
    }


def _conflicts(found: Audit) -> dict:
    """Groups of exact twins whose labels differ, their faces, and the first two labels of each."""
    pairs = at_odds(found)
    groups = one_of_each(found, pairs)
    labels = Counter(
        labels_of(found, pair[found.samples.labels[pair].argsort()]) for pair in groups
    )
    faces = len(np.unique(pairs))
    return {"groups": len(groups), "faces": faces, "labels": dict(labels.most_common())}


def raters(samples: Samples) -> dict[str, dict]:
    """How far FER+ raters bear out each label that occurs, and "all" of them.

    agree: the share of faces whose plurality is the label. share: the part of the votes that is
    on it, on average. nobody: the share of faces for which no rater chose it.
    """
    asked = samples.take(samples.votes.any(1) & (samples.labels >= 0))
    on_label = _votes_on_label(asked)
    scores = (
        plurality(asked.votes) == asked.labels,
        on_label / asked.votes.sum(1),
        on_label == 0,
    )
    masks = {label: asked.labels == k for k, label in enumerate(EMOTIONS)}
    return {
        label: {name: float(x[mask].mean()) for name, x in zip(MEASURES, scores, strict=True)}
        for label, mask in (masks | {"all": asked.labels >= 0}).items()
        if mask.any()
    }


def tables(numbers: dict) -> Iterator[Table]:
    """A summary as tables for a person."""
    names, odds = tuple(numbers["splits"]), numbers["conflicts"]
    counts = [numbers["classes"][name] | numbers["splits"][name] for name in names]
    rows = [(what.replace("_", " "), *(each[what] for each in counts)) for what in counts[0]]
    yield "", ("faces", *names), rows
    title = f"{numbers['copies']:,} faces are exact copies of an earlier one"
    rows = [tuple("" if x is None else x for x in row.values()) for row in numbers["twins"]]
    yield title, ("twins", "of", "twin in", "pairs", "faces", "share", "same label"), rows
    if odds["groups"]:
        title = f"{odds['groups']} groups of exact twins ({odds['faces']} faces) differ in label"
        yield title, ("labels", "groups"), list(odds["labels"].items())[:6]
    if numbers["raters"]:
        yield _rater_table(numbers["raters"])


def _rater_table(splits: dict) -> Table:
    columns = tuple(f"{measure}\n{name}" for measure in MEASURES for name in splits)
    rows = []
    for label in (*EMOTIONS, "all"):
        found = [of.get(label, dict.fromkeys(MEASURES, "")) for of in splits.values()]
        rows.append((label, *(of[measure] for measure in MEASURES for of in found)))
    title = "FER+ raters: their plurality agrees, their share of votes, nobody agrees"
    return title, ("label", *columns), rows


# The clean evaluation


def left_out(found: Audit) -> dict[str, np.ndarray]:
    """The faces of val and test that a clean evaluation leaves out: reason -> (M,) places.

    Each has the first reason that holds: a twin in an earlier split (exact; near, perhaps in a
    mirror); an exact twin with another label; no rater, or not most, saw a face with an emotion.
    A flat face is none.
    """
    near = [pairs for pairs in (found.near, found.mirrored) if pairs is not None]
    reasons = {
        "exact-twin": _twin_before(found, found.exact),
        "near-twin": _twin_before(found, np.concatenate([found.exact, *near])),
        "conflicting-twins": at_odds(found).ravel(),
        "not-a-face": np.flatnonzero(
            not_a_face(found.samples) | duplicates.flat(found.samples.faces)
        ),
        "no-emotion": np.flatnonzero(no_emotion(found.samples)),
    }
    judged = np.array(found.names)[found.split] != "train"
    places = {}
    for reason, faces in reasons.items():
        places[reason] = np.intersect1d(faces, np.flatnonzero(judged))
        judged[faces] = False
    return places


def write_clean(path: Path, found: Audit) -> None:
    """Write row, split and reason of each face that a clean evaluation leaves out, as CSV."""
    places = [(int(k), reason) for reason, faces in left_out(found).items() for k in faces]
    with atomic_file.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("row", "split", "reason"))
        for k, reason in sorted(places):
            out.writerow((found.samples.rows[k], found.names[found.split[k]], reason))
