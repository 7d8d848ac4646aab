"""Search for exact duplicates, near duplicates and mirrored near duplicates among faces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

MIN_CORRELATION = 0.9
"""Near duplicates have a pixel correlation above this after histogram equalization."""

TILE_SIZE = 3
"""Side of the tiles, in pixels, whose means are compared first."""

ROUNDING_TOLERANCE = 1e-4
"""Tolerance for float32 rounding when candidates are selected."""

BLOCK_SIZE = 1024
"""Number of faces or pairs that are compared at once."""

OnProgress = Callable[[int, int], object]
"""Callback that receives the number of faces compared so far and the total number."""


def exact_pairs(faces: np.ndarray) -> np.ndarray:
    """Find all pairs of faces with identical pixels.

    Args:
        faces: (N, H, W) uint8.

    Returns:
        (M, 2) int, indices of the faces; the earlier face of each pair is first.
    """
    indices_by_pixels = defaultdict(list)
    for k, face in enumerate(faces):
        indices_by_pixels[face.tobytes()].append(k)
    groups = (np.array(group) for group in indices_by_pixels.values() if len(group) > 1)
    pairs = [group[np.stack(np.triu_indices(len(group), 1), 1)] for group in groups]
    return np.concatenate([np.empty((0, 2), np.int64), *pairs])


def near_pairs(
    faces: np.ndarray, *, block_size: int = BLOCK_SIZE, on_progress: OnProgress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find all pairs of near duplicates, and the pairs that are near duplicates only if mirrored.

    Args:
        faces: (N, H, W) uint8.
        block_size: number of faces that are compared with all others at once.
        on_progress: called after each block.

    Returns:
        (M, 2) int and (K, 2) int; the earlier face of each pair is first.
    """
    fine = _standardize(faces)
    coarse, coarse_mirrored = _coarse(fine), _coarse(fine[:, :, ::-1])
    near, mirrored = [], []
    for start in range(0, len(faces), block_size):
        near.append(_confirm(fine, fine, _candidates(coarse, coarse, start, block_size)))
        candidates = _candidates(coarse, coarse_mirrored, start, block_size)
        mirrored.append(_confirm(fine, fine[:, :, ::-1], candidates))
        if on_progress:
            on_progress(min(start + block_size, len(faces)), len(faces))
    pairs = np.concatenate(near)
    return pairs, exclude_pairs(np.concatenate(mirrored), pairs, len(faces))


def has_near_duplicate(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Find the faces that have a near or exact duplicate among other faces.

    Args:
        faces: (N, H, W) uint8.
        others: (M, H, W) uint8.

    Returns:
        (N,) bool.
    """
    fine, fine_others = _standardize(faces), _standardize(others)
    coarse_others = _coarse(fine_others)
    duplicated = np.zeros(len(faces), bool)
    for start in range(0, len(faces), BLOCK_SIZE):
        bounds = _coarse(fine[start : start + BLOCK_SIZE]) @ coarse_others.T
        pairs = np.argwhere(bounds > MIN_CORRELATION - ROUNDING_TOLERANCE) + np.array([start, 0])
        duplicated[_confirm(fine, fine_others, pairs)[:, 0]] = True
    return duplicated


def _standardize(faces: np.ndarray) -> np.ndarray:
    """Equalize and scale (N, H, W) faces so that their dot products are correlations."""
    fine = np.stack([equalize_histogram(face) for face in faces]).astype(np.float32)
    fine -= fine.mean((1, 2), keepdims=True)
    # Flat faces have correlation 1 with each other and 0 with all other faces.
    fine[is_flat(faces)] = 1
    fine /= np.sqrt(np.einsum("nhw,nhw->n", fine, fine))[:, None, None]
    return fine


def equalize_histogram(face: np.ndarray) -> np.ndarray:
    """Equalize the histogram of a (H, W) uint8 image, with the same result as `cv2.equalizeHist`.

    An image of one gray level stays unchanged.
    """
    counts = np.bincount(face.ravel(), minlength=256)
    darkest_count = counts[face.min()]
    if darkest_count == face.size:
        return face.copy()
    scale = np.float32(255) / np.float32(face.size - darkest_count)
    levels = (counts.cumsum() - darkest_count).astype(np.float32) * scale
    return np.rint(levels).clip(0, 255).astype(np.uint8)[face]


def _coarse(fine: np.ndarray) -> np.ndarray:
    """Compute (N, D) vectors whose dot products are upper bounds of the correlations.

    A face is the sum of its tile means (3 x 3 pixels) and a residual. By the Cauchy-Schwarz
    inequality the residuals of two faces add at most the product of their norms to the dot
    product. The norm of the residual is therefore the last component, and a search with these
    vectors misses no pair.
    """
    count, height, width = fine.shape
    fine = np.pad(fine, ((0, 0), (0, -height % TILE_SIZE), (0, -width % TILE_SIZE)))
    tiles = fine.reshape(
        count, fine.shape[1] // TILE_SIZE, TILE_SIZE, fine.shape[2] // TILE_SIZE, TILE_SIZE
    )
    means = tiles.sum((2, 4)).reshape(count, -1) / TILE_SIZE
    residual = np.sqrt(np.maximum(1 - (means**2).sum(1, keepdims=True), 0))
    return np.hstack([means, residual])


def _candidates(coarse: np.ndarray, others: np.ndarray, start: int, block_size: int) -> np.ndarray:
    """Find the pairs (i, j), i < j, that may be near duplicates, for the faces i of one block."""
    bounds = coarse[start : start + block_size] @ others[start:].T
    pairs = np.argwhere(bounds > MIN_CORRELATION - ROUNDING_TOLERANCE)
    return pairs[pairs[:, 0] < pairs[:, 1]] + start


def _confirm(fine: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the pairs whose correlation is above `MIN_CORRELATION`."""
    confirmed = [pairs[:0]]
    for start in range(0, len(pairs), BLOCK_SIZE):
        part = pairs[start : start + BLOCK_SIZE]
        correlation = np.einsum("nhw,nhw->n", fine[part[:, 0]], others[part[:, 1]])
        confirmed.append(part[correlation > MIN_CORRELATION])
    return np.concatenate(confirmed)


def exclude_pairs(pairs: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """Return the (M, 2) pairs of face indices, all below `count`, without the (K, 2) others."""
    return pairs[~np.isin(pairs @ (count, 1), others @ (count, 1))]


def is_flat(faces: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether each of the (N, H, W) faces has only one gray level."""
    return np.ptp(faces, (1, 2)) == 0
