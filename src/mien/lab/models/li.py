"""Four wide convolutions and two dense layers, for a system that shows emotions as emoji.

Paper: Li et al. 2023, "Face Expression Recognition Using Deep Neural Network",
https://doi.org/10.54097/hset.v38i.5788.

Claims: 89 % on FER2013 with a "hand-crafted CNN", as Abdulkadir et al. 2025 cite it.

The source does not publish layers or training, nor whether the evaluation set was held out. Public
projects with emoji often use one of two networks. The smaller one is `kedari`. The larger one is
this network, from a widely copied notebook (Oheix,
https://www.kaggle.com/code/jonathanoheix/face-expression-recognition-with-deep-learning) that
reports a validation accuracy of about 65 %.

The notebook states:

- Convolutions 64, 128, 512 and 512 wide, the second 5 x 5, the others 3 x 3, each with batch norm,
  ReLU and max pooling.
- Dense layers of 256 and 512 with batch norm and ReLU.
- Dropout of 0.25 after each of these six layers.

Our choices: the probability of dropout is `dropout`; the last feature map is 3 x 3 for faces of 48
pixels, and smaller maps are resized to that; `slim` has half of the widths of the convolutions, for
CPUs.

Accuracy on PublicTest's labels: `slim` 53.6 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `full`  |     4.47 M |         290 M |
| `slim`  |     1.52 M |          73 M |
"""

from __future__ import annotations

from torch import nn

VARIANTS = {"full": (64, 128, 512, 512), "slim": (32, 64, 256, 256)}
"""Widths of the convolutions."""

KERNEL_SIZES = (3, 5, 3, 3)

DENSE_WIDTHS = (256, 512)

FINAL_SIZE = 3
"""Width and height of the last feature map for faces of 48 pixels."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: convolutions, dense layers, logits."""
    layers = nn.Sequential()
    for width, kernel_size in zip(VARIANTS[variant], KERNEL_SIZES, strict=True):
        padding = kernel_size // 2
        layer = nn.Conv2d(channels, width, kernel_size, padding=padding, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layers.extend([layer, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)])
        layers.append(nn.Dropout(dropout))
        channels = width
    layers.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()])
    features = channels * FINAL_SIZE**2
    for width in DENSE_WIDTHS:
        layers.extend([nn.Linear(features, width, bias=False), nn.BatchNorm1d(width)])
        layers.extend([nn.ReLU(), nn.Dropout(dropout)])
        features = width
    return layers.append(nn.Linear(features, classes))
