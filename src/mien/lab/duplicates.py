"""Duplicate faces in a dataset: identical pixels, near duplicates, and mirrored near duplicates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

NEAR = 0.9
"""Near duplicates have a pixel correlation above this after histogram equalization."""

TILE, ROUNDING, BLOCK = 3, 1e-4, 1024

OnProgress = Callable[[int, int], object]
"""Called with how many faces have been compared, and how many there are."""


def exact_pairs(faces: np.ndarray) -> np.ndarray:
    """All pairs of faces with identical pixels: (N, H, W) uint8 -> (M, 2) int."""
    places = defaultdict(list)
    for k, face in enumerate(faces):
        places[face.tobytes()].append(k)
    groups = (np.array(group) for group in places.values() if len(group) > 1)
    pairs = [group[np.stack(np.triu_indices(len(group), 1), 1)] for group in groups]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def near_pairs(
    faces: np.ndarray, *, block: int = BLOCK, on_progress: OnProgress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of near duplicates, and those that are so only if one face is mirrored.

    Args:
        faces: (N, H, W) uint8.
        block: how many faces are compared with all others at once.
        on_progress: called after each block.

    Returns:
        (M, 2) int and (K, 2) int, the earlier face of each pair first.
    """
    fine = _standardize(faces)
    coarse, coarse_mirrored = _coarse(fine), _coarse(fine[:, :, ::-1])
    near, mirrored = [], []
    for start in range(0, len(faces), block):
        near.append(_confirm(fine, fine, _candidates(coarse, coarse, start, block)))
        candidates = _candidates(coarse, coarse_mirrored, start, block)
        mirrored.append(_confirm(fine, fine[:, :, ::-1], candidates))
        if on_progress:
            on_progress(min(start + block, len(faces)), len(faces))
    pairs = np.concatenate(near)
    return pairs, pairs_without(np.concatenate(mirrored), pairs, len(faces))


def has_near_duplicate(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which faces have a near or exact duplicate among others: (N, ...), (M, ...) -> (N,) bool."""
    fine, fine_others = _standardize(faces), _standardize(others)
    coarse_others = _coarse(fine_others)
    duplicated = np.zeros(len(faces), bool)
    for start in range(0, len(faces), BLOCK):
        bounds = _coarse(fine[start : start + BLOCK]) @ coarse_others.T
        pairs = np.argwhere(bounds > NEAR - ROUNDING) + np.array([start, 0])
        duplicated[_confirm(fine, fine_others, pairs)[:, 0]] = True
    return duplicated


def _standardize(faces: np.ndarray) -> np.ndarray:
    """Equalized faces scaled so that their dot products are correlations: (N, H, W) float32."""
    fine = np.stack([equalize_histogram(face) for face in faces]).astype(np.float32)
    fine -= fine.mean((1, 2), keepdims=True)
    # A flat face correlates with other flat faces, and with nothing else.
    fine[is_flat(faces)] = 1
    fine /= np.sqrt(np.einsum("nhw,nhw->n", fine, fine))[:, None, None]
    return fine


def equalize_histogram(face: np.ndarray) -> np.ndarray:
    """Histogram equalization as in `cv2.equalizeHist`: (H, W) uint8 -> (H, W) uint8.

    An image of one gray level is returned unchanged.
    """
    counts = np.bincount(face.ravel(), minlength=256)
    darkest = counts[face.min()]
    if darkest == face.size:
        return face.copy()
    scale = np.float32(255) / np.float32(face.size - darkest)
    levels = (counts.cumsum() - darkest).astype(np.float32) * scale
    return np.rint(levels).clip(0, 255).astype(np.uint8)[face]


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Short vectors whose dot products bound those of the faces from above: (N, D) float32.

    A face is the sum of its tile means (3 x 3 pixels) and a residual. By Cauchy-Schwarz the
    residuals of two faces add at most the product of their norms to the dot product; with the
    norm as the last component, a search over these vectors alone misses no pair.
    """
    count, height, width = fine.shape
    fine = np.pad(fine, ((0, 0), (0, -height % TILE), (0, -width % TILE)))
    tiles = fine.reshape(count, fine.shape[1] // TILE, TILE, fine.shape[2] // TILE, TILE)
    means = tiles.sum((2, 4)).reshape(count, -1) / TILE
    residual = np.sqrt(np.maximum(1 - (means**2).sum(1, keepdims=True), 0))
    return np.hstack([means, residual])


def _candidates(coarse: np.ndarray, others: np.ndarray, start: int, block: int) -> np.ndarray:
    """Pairs (i, j), i < j, that may be near duplicates, for the i of one block."""
    bounds = coarse[start : start + block] @ others[start:].T
    pairs = np.argwhere(bounds > NEAR - ROUNDING)
    return pairs[pairs[:, 0] < pairs[:, 1]] + start


def _confirm(fine: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Those of the pairs whose correlation is above `NEAR`."""
    confirmed = [pairs[:0]]
    for start in range(0, len(pairs), BLOCK):
        part = pairs[start : start + BLOCK]
        correlation = np.einsum("nhw,nhw->n", fine[part[:, 0]], others[part[:, 1]])
        confirmed.append(part[correlation > NEAR])
    return np.concatenate(confirmed)


def pairs_without(pairs: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """The pairs, of `count` faces, that are not among `others`: (M, 2), (K, 2) -> (L, 2)."""
    return pairs[~np.isin(pairs @ (count, 1), others @ (count, 1))]


def is_flat(faces: np.ndarray) -> np.ndarray:
    """Which faces have only one gray level: (N, H, W) -> (N,) bool."""
    return np.ptp(faces, (1, 2)) == 0
