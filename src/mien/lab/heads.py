"""The two heads of a network: FER2013 labels and shares of FER+ votes."""

from __future__ import annotations

from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

HEADS = {"labels": slice(0, 7), "votes": slice(7, 15)}
"""Name of a head -> its logits among the outputs of a network."""

LABELS = {"labels": EMOTIONS, "votes": EMOTIONS_AND_CONTEMPT}
"""Name of a head -> its classes."""

CLASSES = 15
"""Number of logits of both heads."""
