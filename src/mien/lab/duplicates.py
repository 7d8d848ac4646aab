"""Faces that a dataset holds twice: the same pixel for pixel, nearly, or in a mirror."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

NEAR = 0.9
"""Near twins correlate by more than this, pixel by pixel, once their histograms are equalised."""

COARSE, ROUNDING, BLOCK = 3, 1e-4, 1024

Watch = Callable[[int, int], object]
"""Is told how many of how many faces have been compared with all others."""


def identical(faces: np.ndarray) -> np.ndarray:
    """All pairs of faces that are the same pixel for pixel: (N, H, W) uint8 -> (M, 2) int."""
    places = defaultdict(list)
    for k, face in enumerate(faces):
        places[face.tobytes()].append(k)
    groups = (np.array(group) for group in places.values() if len(group) > 1)
    pairs = [group[np.stack(np.triu_indices(len(group), 1), 1)] for group in groups]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def alike(
    faces: np.ndarray, *, block: int = BLOCK, watch: Watch | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of near twins, and of those that are so only in a mirror: -> (M, 2), (K, 2) int.

    faces: (N, H, W) uint8. So many of them as `block` says are compared with all others at once.
    """
    fine = _standard(faces)
    coarse, turned = _coarse(fine), _coarse(fine[:, :, ::-1])
    near, mirrored = [], []
    for start in range(0, len(faces), block):
        near.append(_confirmed(fine, fine, _candidates(coarse, coarse, start, block)))
        mirror = _candidates(coarse, turned, start, block)
        mirrored.append(_confirmed(fine, fine[:, :, ::-1], mirror))
        if watch:
            watch(min(start + block, len(faces)), len(faces))
    found = np.concatenate(near)
    return found, without(np.concatenate(mirrored), found, len(faces))


def near(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which faces have a near twin, or a copy, among others: (N, H, W), (M, H, W) -> (N,) bool."""
    fine, theirs = _standard(faces), _standard(others)
    coarse = _coarse(theirs)
    found = np.zeros(len(faces), bool)
    for start in range(0, len(faces), BLOCK):
        most = _coarse(fine[start : start + BLOCK]) @ coarse.T
        pairs = np.argwhere(most > NEAR - ROUNDING) + np.array([start, 0])
        found[_confirmed(fine, theirs, pairs)[:, 0]] = True
    return found


def _standard(faces: np.ndarray) -> np.ndarray:
    """Faces whose products are their correlations once equalised: (N, H, W) float32."""
    fine = np.stack([equalised(face) for face in faces]).astype(np.float32)
    fine -= fine.mean((1, 2), keepdims=True)
    # A flat face correlates with another flat one, and with nothing else.
    fine[flat(faces)] = 1
    fine /= np.sqrt(np.einsum("nhw,nhw->n", fine, fine))[:, None, None]
    return fine


def equalised(face: np.ndarray) -> np.ndarray:
    """A picture whose histogram is flat, as `cv2.equalizeHist` makes it: (H, W) uint8 -> the same.

    A picture of one grey stays as it is.
    """
    counts = np.bincount(face.ravel(), minlength=256)
    darkest = counts[face.min()]
    if darkest == face.size:
        return face.copy()
    scale = np.float32(255) / np.float32(face.size - darkest)
    levels = (counts.cumsum() - darkest).astype(np.float32) * scale
    return np.rint(levels).clip(0, 255).astype(np.uint8)[face]


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Short vectors whose products are no less than those of the faces: (N, D) float32.

    A face is the means of its tiles, 3 x 3 pixels each, and a rest. To the product of two faces
    the rests add at most the product of their lengths (Cauchy-Schwarz); so the length of the rest
    is the last number of the vector, and no pair is missed by looking at these alone.
    """
    count, height, width = fine.shape
    fine = np.pad(fine, ((0, 0), (0, -height % COARSE), (0, -width % COARSE)))
    tiles = fine.reshape(count, fine.shape[1] // COARSE, COARSE, fine.shape[2] // COARSE, COARSE)
    means = tiles.sum((2, 4)).reshape(count, -1) / COARSE
    rest = np.sqrt(np.maximum(1 - (means**2).sum(1, keepdims=True), 0))
    return np.hstack([means, rest])


def _candidates(coarse: np.ndarray, others: np.ndarray, start: int, block: int) -> np.ndarray:
    """Pairs (i, j), i < j, that may be near twins, for the i of one block."""
    most = coarse[start : start + block] @ others[start:].T
    pairs = np.argwhere(most > NEAR - ROUNDING)
    return pairs[pairs[:, 0] < pairs[:, 1]] + start


def _confirmed(fine: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs that are near twins."""
    found = [pairs[:0]]
    for start in range(0, len(pairs), BLOCK):
        some = pairs[start : start + BLOCK]
        correlation = np.einsum("nhw,nhw->n", fine[some[:, 0]], others[some[:, 1]])
        found.append(some[correlation > NEAR])
    return np.concatenate(found)


def without(pairs: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """The pairs of faces, of `count` in all, that are not among the others."""
    return pairs[~np.isin(pairs @ (count, 1), others @ (count, 1))]


def flat(faces: np.ndarray) -> np.ndarray:
    """Which faces are one grey all over: (N,) bool."""
    return np.ptp(faces, (1, 2)) == 0
