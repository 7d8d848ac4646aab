"""Published numbers of the reproduced paper and of other systems, for comparison with measurements.

The paper is Abdulkadir et al. 2025, https://doi.org/10.18178/joig.13.5.469-475. Only numbers are
taken from it; docs/reproduce-the-paper.md lists its errata.
"""

from __future__ import annotations

from dataclasses import dataclass

from mien.labels import EMOTIONS

PAPER = "Abdulkadir et al. 2025"

CLAIMED_TRAINING = {
    "vgg19": {"accuracy": 0.6877, "loss": 0.8393, "val_accuracy": 0.6668, "val_loss": 0.9112},
    "sequential": {"accuracy": 0.7812, "loss": 0.8609, "val_accuracy": 0.6741, "val_loss": 0.978},
    "hybrid": {"accuracy": 0.96, "val_accuracy": 0.91},
}
"""System -> training and validation metrics after the last epoch, from Tables I and III.

The paper has no such table for the hybrid, whose numbers are from the text."""

CLAIMED_EPOCHS = {"vgg19": 25, "sequential": 50, "hybrid": 100}
"""System -> number of epochs after which the paper reports the metrics of `CLAIMED_TRAINING`."""

_PER_CLASS_METRICS = ("precision", "recall", "f1", "support")

_PER_CLASS_TABLES = {
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

CLAIMED_PER_CLASS: dict[str, dict[str, dict[str, float]]] = {
    system: {
        emotion: dict(zip(_PER_CLASS_METRICS, row, strict=True))
        for emotion, row in zip(EMOTIONS, table, strict=True)
    }
    for system, table in _PER_CLASS_TABLES.items()
}
"""System -> emotion -> metric -> value, from Tables II and IV."""


@dataclass(frozen=True, slots=True)
class PublishedSystem:
    """A facial emotion recognition system from the literature.

    Attributes:
        name: Authors, year and network.
        claimed_accuracy: Published accuracy on FER2013, 0 to 1; None if none was published.
        note: How the number was obtained, and how plausible it is.
    """

    name: str
    claimed_accuracy: float | None
    note: str = ""


RELATED_SYSTEMS = {
    "jaiswal": PublishedSystem(
        "Jaiswal et al. 2020, parallel CNN",
        0.7014,
        "network and split not published; close to the accuracy of other small networks",
    ),
    "kedari": PublishedSystem(
        "Kedari et al. 2021, CNN",
        0.60,
        "network and split not published; close to small networks without normalization",
    ),
    "ferc": PublishedSystem(
        "Raj et al. 2022, FERC, two stages",
        0.8492,
        "uses 28,000 of the 35,887 faces; which of them, and the evaluation set, is not stated",
    ),
    "xception": PublishedSystem(
        "Krishna et al. 2022, mini-Xception",
        0.92,
        "split not stated; the authors of mini-Xception report 66 % for it",
    ),
    "rcnn": PublishedSystem(
        "Yamsani et al. 2023, Faster R-CNN",
        0.7822,
        "F1 (71.4 %) is below precision (75.4 %) and recall (80.2 %), which is possible only for "
        "averages over classes",
    ),
    "li": PublishedSystem(
        "Li et al. 2023, hand-crafted CNN",
        0.89,
        "network and split not published; the evaluation set may overlap the training set",
    ),
    "clcm": PublishedSystem(
        "Gursesli et al. 2024, CLCM",
        0.63,
        "plausible: below other networks of its size",
    ),
    "salagean": PublishedSystem(
        "Sălăgean et al. 2025, symmetry-optimized CNN",
        0.69,
        "plausible; network and training not published",
    ),
    "resemotenet": PublishedSystem(
        "Roy et al. 2024, ResEmoteNet",
        0.7979,
        "users report test faces in the training set, and 58 to 66 % after retraining",
    ),
    "nathani": PublishedSystem(
        "Nathani 2024, modified VGG16",
        0.6743,
        "plausible; the text of the paper says 66.20 %, perhaps for another network",
    ),
}
"""Model family -> related system in Table V of the paper (references 5 to 14 of the paper).

The accuracy is the one in Table V, which for some systems differs from the cited publication."""

SYSTEMS = RELATED_SYSTEMS | {
    "vgg19": PublishedSystem(
        f"{PAPER}, VGG19", 0.6668,
        "evaluated on a random tenth of all faces; one in twelve of them is an exact duplicate of "
        "a training face, even if PrivateTest is excluded",
    ),
    "sequential": PublishedSystem(
        f"{PAPER}, Sequential", 0.6741,
        "the per-class table of the paper, which has rounded numbers, implies 65.0 to 66.0 %",
    ),
    "hybrid": PublishedSystem(
        f"{PAPER}, hybrid", 0.91,
        "split, per-class table and confusion matrix not published; see "
        "docs/reproduce-the-paper.md",
    ),
    "cifarnet": PublishedSystem(
        "He et al. 2016, ResNet18 for small images", 0.7370,
        "reported in LetheSec's repository for PrivateTest, best epoch, ten crops",
    ),
    "pramerdorfer": PublishedSystem(
        "Pramerdorfer & Kampel 2016, VGG", 0.727, "PrivateTest, ten crops; no known leakage",
    ),
    "vgg13": PublishedSystem("Barsoum et al. 2016, VGG13", None),
    "rmn": PublishedSystem(
        "Pham et al. 2021, residual masking", 0.7414,
        "PrivateTest, ten rotated and flipped copies; ImageNet weights, 224 x 224 pixels, 137.8 M "
        "parameters",
    ),
    "convnext": PublishedSystem("Liu et al. 2022, ConvNeXt", None),
    "resnet": PublishedSystem("mien, small ResNet", None),
}  # fmt: skip
"""Model family -> system: related systems, the three systems of the paper, and other networks."""
