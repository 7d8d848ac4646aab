"""Search for exact duplicates, near duplicates and mirrored near duplicates among faces.

Exact duplicates have identical pixels. Near duplicates have a correlation of their pixels above
`MIN_CORRELATION` after histogram equalization.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

MIN_CORRELATION = 0.9
"""Correlation above which faces are near duplicates."""

TILE_SIZE = 3
"""Width and height, in pixels, of the tiles whose means are compared to find candidates."""

ROUNDING_TOLERANCE = 1e-4
"""Tolerance for float32 rounding errors in the upper bounds that select candidates."""

BLOCK_SIZE = 1024
"""Number of faces or pairs that are compared at once."""

OnProgress = Callable[[int, int], object]
"""Callback that receives the number of faces compared so far and the total number."""


def exact_pairs(faces: np.ndarray) -> np.ndarray:
    """Find all pairs of faces with identical pixels.

    Args:
        faces: (N, H, W) uint8.

    Returns:
        (M, 2) int, indices of the faces of each pair; the earlier face is first.
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
        block_size: Number of faces that are compared with all others at once.
        on_progress: Called after each block of faces.

    Returns:
        The pairs of near duplicates including exact ones, (M, 2) int, and the pairs of mirrored
        near duplicates, (K, 2) int. They are indices of faces; the earlier face is first.
    """
    normalized = _normalize(faces)
    flipped = normalized[:, :, ::-1]
    vectors, flipped_vectors = _bound_vectors(normalized), _bound_vectors(flipped)
    near, mirrored = [], []
    for start in range(0, len(faces), block_size):
        candidates = _candidates(vectors, vectors, start, block_size)
        near.append(_confirm(normalized, normalized, candidates))
        candidates = _candidates(vectors, flipped_vectors, start, block_size)
        mirrored.append(_confirm(normalized, flipped, candidates))
        if on_progress:
            on_progress(min(start + block_size, len(faces)), len(faces))
    pairs = np.concatenate(near)
    return pairs, exclude_pairs(np.concatenate(mirrored), pairs, len(faces))


def has_near_duplicate(faces: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Find the faces that have a near or exact, but not mirrored, duplicate among other faces.

    Args:
        faces: (N, H, W) uint8.
        others: (M, H, W) uint8.

    Returns:
        (N,) bool.
    """
    normalized, normalized_others = _normalize(faces), _normalize(others)
    other_vectors = _bound_vectors(normalized_others)
    is_duplicate = np.zeros(len(faces), bool)
    for start in range(0, len(faces), BLOCK_SIZE):
        bounds = _bound_vectors(normalized[start : start + BLOCK_SIZE]) @ other_vectors.T
        pairs = np.argwhere(bounds > MIN_CORRELATION - ROUNDING_TOLERANCE) + np.array([start, 0])
        is_duplicate[_confirm(normalized, normalized_others, pairs)[:, 0]] = True
    return is_duplicate


def correlations(faces: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Compute the correlations of pairs after histogram equalization.

    Args:
        faces: (N, H, W) uint8.
        pairs: (M, 2) int, indices of the faces.

    Returns:
        (M,) float32, -1 to 1.
    """
    normalized = _normalize(faces)
    return np.einsum("nhw,nhw->n", normalized[pairs[:, 0]], normalized[pairs[:, 1]])


def _normalize(faces: np.ndarray) -> np.ndarray:
    """Equalize the histograms, and scale faces so that their dot products are correlations."""
    normalized = np.stack([equalize_histogram(face) for face in faces]).astype(np.float32)
    normalized -= normalized.mean((1, 2), keepdims=True)
    # Flat faces have correlation 1 with each other and 0 with all other faces.
    normalized[is_flat(faces)] = 1
    normalized /= np.sqrt(np.einsum("nhw,nhw->n", normalized, normalized))[:, None, None]
    return normalized


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


def _bound_vectors(normalized: np.ndarray) -> np.ndarray:
    """Compute (N, D) vectors whose dot products are upper bounds of the correlations.

    A face is the sum of an image of its tile means and an orthogonal residual. By the
    Cauchy-Schwarz inequality, the dot product of two residuals is at most the product of their
    norms. A vector consists of the scaled tile means of a face and the norm of its residual, so a
    search with these vectors misses no pair.
    """
    count, height, width = normalized.shape
    padded = np.pad(normalized, ((0, 0), (0, -height % TILE_SIZE), (0, -width % TILE_SIZE)))
    tiles = padded.reshape(
        count, padded.shape[1] // TILE_SIZE, TILE_SIZE, padded.shape[2] // TILE_SIZE, TILE_SIZE
    )
    means = tiles.sum((2, 4)).reshape(count, -1) / TILE_SIZE
    residual_norms = np.sqrt(np.maximum(1 - (means**2).sum(1, keepdims=True), 0))
    return np.hstack([means, residual_norms])


def _candidates(vectors: np.ndarray, others: np.ndarray, start: int, block_size: int) -> np.ndarray:
    """Find the pairs (i, j) that may be near duplicates, for i in one block and all j > i."""
    bounds = vectors[start : start + block_size] @ others[start:].T
    pairs = np.argwhere(bounds > MIN_CORRELATION - ROUNDING_TOLERANCE)
    return pairs[pairs[:, 0] < pairs[:, 1]] + start


def _confirm(normalized: np.ndarray, others: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return the pairs (i, j) for which face i and other face j are near duplicates."""
    confirmed = [pairs[:0]]
    for start in range(0, len(pairs), BLOCK_SIZE):
        block = pairs[start : start + BLOCK_SIZE]
        correlation = np.einsum("nhw,nhw->n", normalized[block[:, 0]], others[block[:, 1]])
        confirmed.append(block[correlation > MIN_CORRELATION])
    return np.concatenate(confirmed)


def exclude_pairs(pairs: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """Return the pairs that are not among other pairs.

    Args:
        pairs: (M, 2) int, indices of faces.
        others: (K, 2) int, indices of faces.
        count: Number of faces.

    Returns:
        (L, 2) int.
    """
    # i * count + j identifies the pair (i, j).
    return pairs[~np.isin(pairs @ (count, 1), others @ (count, 1))]


def is_flat(faces: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether each of the (N, H, W) faces has only one gray level."""
    return np.ptp(faces, (1, 2)) == 0
