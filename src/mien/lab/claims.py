"""The numbers that the reproduced paper prints, for comparison with measured ones.

Abdulkadir et al. 2025, https://doi.org/10.18178/joig.13.5.469-475. Nothing else in mien is copied
from it. docs/reproduce-the-paper.md explains which of its numbers are wrong.
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
"""Tables I and III after 25 and 50 epochs; for the hybrid after 100 epochs, the text's numbers."""

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
class System:
    """A published system.

    Attributes:
        name: authors, year and network.
        claimed: the printed accuracy on FER2013, 0 to 1; None if there is none.
        note: what is known about that number.
    """

    name: str
    claimed: float | None
    note: str = ""


RELATED_SYSTEMS = {
    "jaiswal": System(
        "Jaiswal et al. 2020, parallel CNN",
        0.7014,
        "network and split not public; close to what small networks reach",
    ),
    "kedari": System(
        "Kedari et al. 2021, CNN",
        0.60,
        "network and split not public; what a small network without normalization reaches",
    ),
    "ferc": System(
        "Raj et al. 2022, FERC, two stages",
        0.8492,
        "28,000 of the 35,887 faces; which ones, and the evaluation set, are not stated",
    ),
    "xception": System(
        "Krishna et al. 2022, mini-Xception",
        0.92,
        "the network's own authors report 66 % with it; the split is not stated",
    ),
    "rcnn": System(
        "Yamsani et al. 2023, Faster R-CNN",
        0.7822,
        "its F1, 71.4, lies below both its precision, 75.4, and its recall, 80.2",
    ),
    "li": System(
        "Li et al. 2023, hand-crafted CNN",
        0.89,
        "network and split not public; the evaluation set may overlap the training set",
    ),
    "clcm": System(
        "Gursesli et al. 2024, CLCM",
        0.63,
        "plausible: below what other networks of that size reach",
    ),
    "salagean": System(
        "Sălăgean et al. 2025, symmetry-optimized CNN",
        0.69,
        "plausible; network and training not public",
    ),
    "resemotenet": System(
        "Roy et al. 2024, ResEmoteNet",
        0.7979,
        "users report test faces in the training set, and 58 to 66 % after retraining",
    ),
    "nathani": System(
        "Nathani 2024, modified VGG16",
        0.6743,
        "plausible; the paper's text says 66.20 %, perhaps of another network",
    ),
}
"""Table V, references 5 to 14, by model family: the accuracy that the paper prints (for some, not
the one that their authors print)."""

SYSTEMS = RELATED_SYSTEMS | {
    "vgg19": System(
        f"{PAPER}, VGG19", 0.6668,
        "a random tenth of all faces; even without PrivateTest, one in twelve is an exact "
        "duplicate of a training face",
    ),
    "sequential": System(
        f"{PAPER}, Sequential", 0.6741,
        "its own per-class table gives 65.0 to 66.0 %",
    ),
    "hybrid": System(
        f"{PAPER}, hybrid", 0.91,
        "no split, no per-class table, no confusion matrix; see docs/reproduce-the-paper.md",
    ),
    "cifarnet": System(
        "He et al. 2016, ResNet18 for small images", 0.7370,
        "LetheSec's repository; PrivateTest, at its best epoch; ten crops",
    ),
    "pramerdorfer": System(
        "Pramerdorfer & Kampel 2016, VGG", 0.727, "PrivateTest; ten crops; sound",
    ),
    "vgg13": System("Barsoum et al. 2016, VGG13", None),
    "rmn": System(
        "Pham et al. 2021, residual masking", 0.7414,
        "PrivateTest; ImageNet weights, 224 pixels, 137.8 M parameters, ten crops",
    ),
    "convnext": System("Liu et al. 2022, ConvNeXt", None),
    "resnet": System("mien's own, a small ResNet", None),
}  # fmt: skip
"""The related systems, the paper's own three, and reference networks that it does not mention."""
