"""Faces with what people said of them, and the published readings of the FER+ votes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

VOTE_NAMES = (
    "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt",
    "unknown", "not_a_face",
)  # fmt: skip
"""What a FER+ rater could say, in mien's order: eight emotions and two ways to decline."""

EMOTION_COUNT = 8


@dataclass(frozen=True, slots=True)
class Samples:
    """N faces and their labels, all arrays.

    faces: (N, H, W) uint8, grey. labels: (N,) int64 in the order of `mien.labels.EMOTIONS`,
    -1 where there is none. votes: (N, 10) uint8 counts in the order of `VOTE_NAMES`; all zero
    where nobody was asked. rows: (N,) int64, the face's place in the published file.
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
    def voted(self) -> bool:
        """Whether any face carries votes."""
        return bool(self.votes.any())

    def take(self, which: np.ndarray) -> Samples:
        """The samples that an index or mask array picks."""
        picked = {name: getattr(self, name)[which] for name in self.__slots__}
        return replace(self, **picked)


def together(*parts: Samples) -> Samples:
    """The faces of several samples as one, in that order."""
    arrays = ([getattr(p, name) for p in parts] for name in Samples.__slots__)
    return Samples(*(np.concatenate(a) for a in arrays))


def shares(votes: np.ndarray, *, drop_single: bool = False) -> np.ndarray:
    """Votes as a distribution over the eight emotions: (N, 10) counts -> (N, 8) float32.

    "unknown" and "not a face" do not count. With `drop_single`, a lonely vote is taken for a slip
    (Barsoum et al. 2016, https://arxiv.org/abs/1608.01041). A row without a vote left is zero.
    """
    counts = votes[:, :EMOTION_COUNT].astype(np.float32)
    if drop_single:
        counts[counts <= 1] = 0
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def groups(faces: np.ndarray) -> np.ndarray:
    """The place of the first of all pixel-identical faces: (N, H, W) uint8 -> (N,) int64."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(face.tobytes(), k) for k, face in enumerate(faces)])


def pooled(samples: Samples) -> np.ndarray:
    """Votes in which pixel-identical faces share the sum of theirs: (N, 10) uint16 counts."""
    first = groups(samples.faces)
    total = np.zeros(samples.votes.shape, np.uint16)
    np.add.at(total, first, samples.votes)
    return total[first]


ENOUGH_VOTES = 5
"""Proportions are compared where at least so many raters named one of the seven emotions."""


def seven_shares(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which faces have enough votes on the seven emotions, (N,) bool, and the shares of those.

    votes: (N, 10) counts. The shares are (M, 7) float64, for the M faces that have enough.
    """
    counts = votes[:, :7].astype(np.float64)
    asked = counts.sum(1) >= ENOUGH_VOTES
    return asked, counts[asked] / counts[asked].sum(1, keepdims=True)


def majority(votes: np.ndarray) -> np.ndarray:
    """FER+ labels by protocol A (Barsoum's "majority"): (N, 10) counts -> (N,) int64.

    Single votes are dropped; a face counts if more than half of what is left says the same, and
    that is an emotion. -1 for a face that does not count.
    """
    counts = np.where(votes <= 1, 0, votes).astype(np.int64)
    top = counts.argmax(1)
    strict = 2 * counts.max(1) > counts.sum(1)
    return np.where(strict & (top < EMOTION_COUNT), top, -1)


def plurality(votes: np.ndarray) -> np.ndarray:
    """FER+ labels by protocol B: the most frequent vote, if it is one emotion: -> (N,) int64.

    -1 where two lead together, or where most raters saw no face or no expression they knew.
    """
    top = votes.argmax(1)
    alone = (votes == votes.max(1, keepdims=True)).sum(1) == 1
    return np.where(alone & (top < EMOTION_COUNT), top, -1)


def twins(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which faces have a pixel-identical copy among `others`: (N, H, W), (M, H, W) -> (N,) bool."""
    known = {face.tobytes() for face in others}
    return np.array([face.tobytes() in known for face in faces], bool)
