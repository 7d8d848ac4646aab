"""The two heads of a network trained on labels and on votes: where they lie, what they answer."""

from __future__ import annotations

from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

HEADS = {"labels": slice(0, 7), "votes": slice(7, 15)}
"""Where the two answers lie among the logits of a network trained on both: FER2013's label over
seven emotions, the share of FER+ votes over eight."""

LABELS = {"labels": EMOTIONS, "votes": EMOTIONS_AND_CONTEMPT}
"""What each of the two can answer."""

CLASSES = 15
"""Logits of both together."""
