"""The models: one readable file per family, each with its `VARIANTS` and its `build`."""

from __future__ import annotations

from torch import nn

from mien.errors import UserError
from mien.shelf import names, take, unknown

SHELF = __name__

HEADS = {"labels": slice(0, 7), "votes": slice(7, 15)}
"""Where the two answers lie among the logits of a network trained on both: FER2013's label over
seven emotions, the share of FER+ votes over eight."""

CLASSES = 15


def available() -> list[str]:
    """Every name that `build` takes: `family-variant`, sorted."""
    return [f"{family}-{v}" for family in names(SHELF) for v in take(SHELF, family).VARIANTS]


def build(name: str, *, channels: int, classes: int, dropout: float = 0.0) -> nn.Module:
    """A new network: (N, channels, side, side) standardised float -> (N, classes) logits.

    `name` is `"family-variant"` (`"resnet-32"`) or a family alone, which means its first variant.
    Raises `UserError` for an unknown one. Weights come from torch's global generator.
    """
    family, _, variant = name.partition("-")
    if family not in names(SHELF):
        raise unknown("model", name, available())
    module = take(SHELF, family)
    variant = variant or next(iter(module.VARIANTS))
    if variant not in module.VARIANTS:
        raise unknown("model", name, available())
    if classes < 2:
        raise UserError(f"A model needs at least 2 classes, not {classes}.")
    return module.build(variant, channels=channels, classes=classes, dropout=dropout)
