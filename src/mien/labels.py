"""The emotion labels with their order, synonyms and colors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven emotions of FER2013, in the order of its labels 0 to 6."""

EMOTIONS_AND_CONTEMPT = (*EMOTIONS, "contempt")
"""The eight emotions of FER+, in the order of the outputs of mien's models."""

COLORS = {
    "angry": "#e2574c",
    "disgust": "#8fb339",
    "fear": "#a481d9",
    "happy": "#f2c14e",
    "sad": "#5aa5e8",
    "surprise": "#f2914a",
    "neutral": "#c3c8cd",
    "contempt": "#d98cb3",
}
"""The color of each emotion in all outputs; each has enough contrast with the dark panels."""

SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "suprise": "surprise",
    "calm": "neutral",
    "neutrality": "neutral",
    "contemptuous": "contempt",
}
"""Other names of emotions, including a common misspelling -> label."""


def canonical_label(name: str) -> str:
    """Return the label for a name or synonym of an emotion.

    Case, and spaces around the name, are ignored.

    Raises:
        UserError: If the name is unknown.

    Example:
        >>> canonical_label("Happiness")
        'happy'
    """
    label = name.strip().lower()
    label = SYNONYMS.get(label, label)
    if label not in EMOTIONS_AND_CONTEMPT:
        raise UserError(
            f"Unknown emotion {name[:50]!r}. Known emotions: {', '.join(EMOTIONS_AND_CONTEMPT)}."
        )
    return label


def restrict_labels(
    probabilities: np.ndarray, labels: Sequence[str], keep: Sequence[str]
) -> np.ndarray:
    """Select the probabilities of the labels in `keep`, and renormalize them to sum to 1.

    A row whose selected probabilities are all 0 becomes uniform over the labels of `keep` that are
    in `labels`. If no label of `keep` is in `labels`, all rows are 0.

    Args:
        probabilities: (N, K) with one row per face.
        labels: The K labels of the columns.
        keep: The labels to select, in the order of the result; a label that is not in `labels`
            gets probability 0.

    Returns:
        (N, len(keep)) float64.

    Example:
        >>> restrict_labels(np.array([[0.2, 0.6, 0.2]]), ["sad", "happy", "fear"], ["sad", "happy"])
        array([[0.25, 0.75]])
    """
    # Index -1 selects the column of zeros that is appended to the probabilities.
    columns = [labels.index(name) if name in labels else -1 for name in keep]
    padded = np.pad(np.asarray(probabilities, np.float64), ((0, 0), (0, 1)))
    kept = padded[:, columns]
    total = kept.sum(1, keepdims=True)
    is_predicted = np.greater_equal(columns, 0)
    uniform = np.broadcast_to(is_predicted / max(is_predicted.sum(), 1), kept.shape)
    return np.divide(kept, total, out=uniform.copy(), where=total > 0)
