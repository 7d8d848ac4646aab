"""Four wide convolutions and two dense layers, of a system that answers faces with emoji.

Li et al. 2023, "Face Expression Recognition Using Deep Neural Network",
https://doi.org/10.54097/hset.v38i.5788. Abdulkadir et al. 2025 say of it: a "hand-crafted
CNN", 89 % on FER2013, and an emoji for the emotion found.

We found no public text that says more, neither of the layers nor of the training, nor
whether the 89 % are of faces that were trained on. Public projects that answer faces with
emoji often share one of two networks. The smaller stands in `kedari`. The larger is
built here, after a much copied notebook (Oheix,
https://www.kaggle.com/code/jonathanoheix/face-expression-recognition-with-deep-learning),
which reports about 65 % in validation:

- Convolutions 64, 128, 512 and 512 wide, the second with 5 x 5 kernels and the others
  with 3 x 3, each with norm, ReLU and max pooling. Dense layers of 256 and 512 with norm
  and ReLU.
- `dropout` after each of these six (there 0.25).
- The flattened 3 x 3 of 48 pixels fix the size of the first dense layer. Smaller windows
  leave less, which is stretched to 3 x 3 by adaptive pooling.
- `slim` has half the convolutions' widths, to be trained on a CPU.

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `full`  |     4.47 M |         290 M |
| `slim`  |     1.52 M |          73 M |
"""

from __future__ import annotations

import torch
from torch import nn

VARIANTS = {"full": (64, 128, 512, 512), "slim": (32, 64, 256, 256)}
"""Widths of the convolutions."""

KERNELS = (3, 5, 3, 3)

DENSE = (256, 512)

REST = 3
"""Side of what four poolings leave of 48 pixels."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """The whole stack in a row: convolutions, dense layers, logits."""
    layers = nn.Sequential()
    for width, kernel in zip(VARIANTS[variant], KERNELS, strict=True):
        layer = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layers.extend([layer, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)])
        layers.append(nn.Dropout(dropout))
        channels = width
    layers.extend([nn.AdaptiveAvgPool2d(REST), nn.Flatten()])
    features = channels * REST**2
    for width in DENSE:
        layers.extend([nn.Linear(features, width, bias=False), nn.BatchNorm1d(width)])
        layers.extend([nn.ReLU(), nn.Dropout(dropout)])
        features = width
    model = layers.append(nn.Linear(features, classes))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
