"""Faces with their labels and votes, and the published rules for deriving labels from votes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

VOTE_NAMES = (
    "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt",
    "unknown", "not_a_face",
)  # fmt: skip
"""The choices of a FER+ rater, in mien's order: eight emotions, "unknown" and "not a face"."""

EMOTION_COUNT = 8
"""Number of emotions among the choices, including contempt; they come first."""


@dataclass(frozen=True, slots=True)
class Samples:
    """N faces with their labels and votes, as arrays.

    Attributes:
        faces: (N, H, W) uint8, gray.
        labels: (N,) int64, indices into `mien.labels.EMOTIONS`; -1 for no label.
        votes: (N, 10) uint8, counts in the order of `VOTE_NAMES`; all zero for no votes.
        rows: (N,) int64, index of each face's row in the published file, from 0; for a folder of
            images, which has no rows, the number of each face over all splits.
    """

    faces: np.ndarray
    labels: np.ndarray
    votes: np.ndarray
    rows: np.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        count = len(self.faces)
        if not (len(self.labels) == len(self.votes) == len(self.rows) == count):
            raise ValueError("faces, labels, votes and rows differ in length")

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def has_votes(self) -> bool:
        """Whether any face has votes."""
        return bool(self.votes.any())

    def select(self, index: np.ndarray) -> Samples:
        """The samples of an index array or a boolean mask."""
        selected = {name: getattr(self, name)[index] for name in self.__slots__}
        return replace(self, **selected)


def concatenate(*parts: Samples) -> Samples:
    """Join samples, in the order given."""
    names = Samples.__slots__
    return Samples(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def shares(votes: np.ndarray, *, drop_single: bool = False) -> np.ndarray:
    """The share of each of the eight emotions among a face's votes.

    Args:
        votes: (N, 10) counts; "unknown" and "not a face" are ignored.
        drop_single: Ignore an emotion that has a single vote for a face (Barsoum et al. 2016,
            https://arxiv.org/abs/1608.01041).

    Returns:
        (N, 8) float32; each row sums to 1, or is zero if no votes for emotions remain.
    """
    counts = votes[:, :EMOTION_COUNT].astype(np.float32)
    if drop_single:
        counts[counts <= 1] = 0
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def duplicate_groups(faces: np.ndarray) -> np.ndarray:
    """For each face, the index of the first identical face: (N, H, W) uint8 -> (N,) int64."""
    first_indices: dict[bytes, int] = {}
    indices = [first_indices.setdefault(face.tobytes(), k) for k, face in enumerate(faces)]
    return np.array(indices, np.int64)


def pooled_votes(samples: Samples) -> np.ndarray:
    """Votes summed over pixel-identical faces: (N, 10) uint16 counts."""
    groups = duplicate_groups(samples.faces)
    totals = np.zeros(samples.votes.shape, np.uint16)
    np.add.at(totals, groups, samples.votes)
    return totals[groups]


MIN_VOTES = 5
"""Minimum number of votes for the seven emotions; shares are not evaluated on faces with fewer."""


def seven_shares(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares of the seven emotions, for faces with enough votes.

    Args:
        votes: (N, 10) counts.

    Returns:
        (N,) bool, whether a face has at least `MIN_VOTES` votes for the seven emotions; and (M, 7)
        float64, the shares of the M faces that have.
    """
    counts = votes[:, :7].astype(np.float64)
    has_enough_votes = counts.sum(1) >= MIN_VOTES
    counts = counts[has_enough_votes]
    return has_enough_votes, counts / counts.sum(1, keepdims=True)


def majority(votes: np.ndarray) -> np.ndarray:
    """FER+ labels by the majority rule of Barsoum et al. 2016 ("protocol A").

    Args:
        votes: (N, 10) counts. Single votes are dropped.

    Returns:
        (N,) int64, the emotion with more than half of the remaining votes, which include those for
        "unknown" and "not a face"; -1 if there is none.
    """
    counts = np.where(votes <= 1, 0, votes).astype(np.int64)
    top = counts.argmax(1)
    is_majority = 2 * counts.max(1) > counts.sum(1)
    return np.where(is_majority & (top < EMOTION_COUNT), top, -1)


def plurality(votes: np.ndarray) -> np.ndarray:
    """FER+ labels by plurality, the most frequent vote.

    Args:
        votes: (N, 10) counts.

    Returns:
        (N,) int64, the emotion with the most votes; -1 for a tie, "unknown" or "not a face", and
        without votes.
    """
    top = votes.argmax(1)
    is_unique = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    return np.where(is_unique & (top < EMOTION_COUNT), top, -1)


def has_duplicate(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each face is identical to one of `others`: (N, H, W), (M, H, W) -> (N,) bool."""
    contents = {face.tobytes() for face in others}
    return np.array([face.tobytes() in contents for face in faces], bool)
