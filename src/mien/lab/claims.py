"""What the paper prints, number by number, to stand beside what is measured.

Abdulkadir et al. 2025, https://doi.org/10.18178/joig.13.5.469-475. Nothing else in mien is copied
from it. What is wrong with some of it: docs/reproduce-the-paper.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien.labels import EMOTIONS

PAPER = "Abdulkadir et al. 2025"

TRAINING = {
    "vgg19": {"accuracy": 0.6877, "loss": 0.8393, "val_accuracy": 0.6668, "val_loss": 0.9112},
    "sequential": {"accuracy": 0.7812, "loss": 0.8609, "val_accuracy": 0.6741, "val_loss": 0.978},
    "hybrid": {"accuracy": 0.96, "val_accuracy": 0.91},
}
"""Tables I and III after 25 and 50 epochs, and what the text says of the hybrid after 100."""

EPOCHS = {"vgg19": 25, "sequential": 50, "hybrid": 100}

_SCORES = ("precision", "recall", "f1", "support")

_TABLES = {
    "vgg19": (
        (0.59, 0.63, 0.61, 495), (0.58, 0.38, 0.46, 55), (0.57, 0.38, 0.46, 512),
        (0.89, 0.86, 0.88, 899), (0.53, 0.56, 0.55, 608), (0.72, 0.78, 0.75, 400),
        (0.59, 0.70, 0.64, 620),
    ),
    "sequential": (
        (0.51, 0.70, 0.59, 467), (0.68, 0.46, 0.55, 56), (0.52, 0.44, 0.48, 496),
        (0.82, 0.88, 0.85, 895), (0.56, 0.55, 0.56, 653), (0.80, 0.78, 0.79, 415),
        (0.64, 0.51, 0.57, 607),
    ),
}  # fmt: skip

PER_CLASS: dict[str, dict[str, dict[str, float]]] = {
    system: {
        emotion: dict(zip(_SCORES, row, strict=True))
        for emotion, row in zip(EMOTIONS, table, strict=True)
    }
    for system, table in _TABLES.items()
}
"""Tables II and IV."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A row of Table V: a system by others, and the accuracy that the paper prints for it."""

    reference: int
    authors: str
    year: int
    system: str
    accuracy: float
    model: str


RIVALS = (
    Rival(5, "Jaiswal et al.", 2020, "parallel CNN", 0.7014, "jaiswal"),
    Rival(6, "Kedari et al.", 2021, "CNN", 0.60, "kedari"),
    Rival(7, "Raj et al.", 2022, "FERC, two stages", 0.8492, "ferc"),
    Rival(8, "Krishna et al.", 2022, "mini-Xception", 0.92, "xception"),
    Rival(9, "Yamsani et al.", 2023, "Faster R-CNN", 0.7822, "rcnn"),
    Rival(10, "Li et al.", 2023, "hand-crafted CNN", 0.89, "li"),
    Rival(11, "Gursesli et al.", 2024, "CLCM", 0.63, "clcm"),
    Rival(12, "Sălăgean et al.", 2025, "symmetry-optimised CNN", 0.69, "salagean"),
    Rival(13, "Roy et al.", 2024, "ResEmoteNet", 0.7979, "resemotenet"),
    Rival(14, "Nathani", 2024, "modified VGG16", 0.6743, "nathani"),
)
"""Table V. The model is the name of the family here, if it is built."""
