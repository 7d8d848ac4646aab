"""The two heads of a network, which predict FER2013 labels and shares of FER+ votes."""

from __future__ import annotations

from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

HEADS = {"labels": slice(0, 7), "votes": slice(7, 15)}
"""Name of a head -> the columns of its logits in the output of a network."""

CLASS_NAMES = {"labels": EMOTIONS, "votes": EMOTIONS_AND_CONTEMPT}
"""Name of a head -> names of its classes, in the order of its logits."""

LOGIT_COUNT = 15
"""Number of logits of a network, for both heads."""
