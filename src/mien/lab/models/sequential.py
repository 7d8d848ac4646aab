"""Six wide convolutions and three dense layers, the paper's second model.

Abdulkadir et al. 2025, "Evaluating Facial Emotional Proportion Based on Computer Vision Technique",
https://doi.org/10.18178/joig.13.5.469-475.

The paper says only "Sequential" (the name of a Keras container), 50 epochs, and 67.41 % on a
validation set. Batch size, epochs and label codes point to a family of public notebooks whose
best known member (lxyuan0420, "Facial expression recognition using CNN") is built here:

- Three blocks of two 3 x 3 convolutions and a max pooling, 256, 128 and 64 wide; only the very
  first convolution has no padding. Then dense layers of 512, 256 and 128.
- Batch norm and ReLU after each convolution and dense layer. `plain` has no norm.
- Dropout, of which the notebook has none but the paper speaks: `dropout` after each dense layer,
  half of it after each block.
- The flattened 5 x 5 of 48 pixels fix the size of the first dense layer. Sides from 42 to 48
  pixels leave 5 x 5 too, smaller ones less, which is stretched to 5 x 5 by adaptive pooling.
- `slim` and `slim-plain` have a quarter of the convolutions' widths, to be trained on a CPU.

At 48 pixels, 1 channel and 7 classes:

| variant      | parameters | multiply-adds |
|--------------|-----------:|--------------:|
| `full`       |     2.13 M |        1501 M |
| `plain`      |     2.13 M |        1501 M |
| `slim`       |     0.44 M |          95 M |
| `slim-plain` |     0.44 M |          95 M |
"""

from __future__ import annotations

import torch
from torch import nn

VARIANTS = {
    "full": ((256, 128, 64), True),
    "plain": ((256, 128, 64), False),
    "slim": ((64, 32, 16), True),
    "slim-plain": ((64, 32, 16), False),
}
"""Widths of the three blocks, and whether there is batch norm."""

ABLATIONS = {"full": {"no batch norm": "plain"}, "slim": {"no batch norm": "slim-plain"}}
"""What an ablation leaves out, and the variant that does without it."""

DENSE = (512, 256, 128)

REST = 5
"""Side of what three blocks leave of 48 pixels."""


def convolution(width_in: int, width: int, padding: int, norm: bool) -> list[nn.Module]:
    """A 3 x 3 convolution, its norm if there are norms, and ReLU."""
    layer = nn.Conv2d(width_in, width, 3, padding=padding, bias=not norm)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(width), nn.ReLU()] if norm else [layer, nn.ReLU()]


def dense(width_in: int, width: int, norm: bool) -> list[nn.Module]:
    """A linear layer, its norm if there are norms, and ReLU."""
    layer = nn.Linear(width_in, width, bias=not norm)
    return [layer, nn.BatchNorm1d(width), nn.ReLU()] if norm else [layer, nn.ReLU()]


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """The whole stack in a row: blocks, dense layers, logits."""
    widths, norm = VARIANTS[variant]
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers += convolution(channels, width, 1 if number else 0, norm)
        layers += convolution(width, width, 1, norm)
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout / 2)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(REST), nn.Flatten()]
    features = channels * REST**2
    for width in DENSE:
        layers += [*dense(features, width, norm), nn.Dropout(dropout)]
        features = width
    model = nn.Sequential(*layers, nn.Linear(features, classes))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
