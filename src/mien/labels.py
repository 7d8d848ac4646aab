"""The emotions, their one order, and the names that other people give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The seven emotions of FER2013, in its own coding 0 to 6."""

EMOTIONS_AND_CONTEMPT = (*EMOTIONS, "contempt")
"""The eight emotions of FER+, in the order in which mien's models give them."""

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
"""One per emotion, wherever it is shown; all light enough to read on a dark ground."""

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
}


def canonical(name: str) -> str:
    """The label that `name` means: `"Happiness"` -> `"happy"`; a `UserError` if it means none."""
    plain = name.strip().lower()
    plain = SYNONYMS.get(plain, plain)
    if plain not in EMOTIONS_AND_CONTEMPT:
        raise UserError(
            f"{name!r} is not an emotion that mien knows: {', '.join(EMOTIONS_AND_CONTEMPT)}."
        )
    return plain


def restrict_labels(
    probabilities: np.ndarray, labels: Sequence[str], keep: Sequence[str]
) -> np.ndarray:
    """The probabilities of `keep` alone, renormalised: (N, K) -> (N, len(keep)) float64.

    The share that falls on a label left out (contempt, usually) is given to the others in
    proportion, which is what "given that it is one of these" means. A label of `keep` that the
    model does not have gets probability zero.
    """
    places = [labels.index(name) if name in labels else -1 for name in keep]
    padded = np.pad(np.asarray(probabilities, np.float64), ((0, 0), (0, 1)))
    kept = padded[:, places]
    total = kept.sum(1, keepdims=True)
    known = np.greater_equal(places, 0)
    # Where nothing is left to share out, the model has said nothing about those kept.
    even = np.broadcast_to(known / max(known.sum(), 1), kept.shape)
    return np.divide(kept, total, out=even.copy(), where=total > 0)
