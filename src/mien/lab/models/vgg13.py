"""VGG13 as made for FER+: ten convolutions and three dense layers.

Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", https://arxiv.org/abs/1608.01041; the authors' code is
at https://github.com/microsoft/FERPlus.

The authors claim about 84 to 85 % on FER+, by the way the votes are taught, against the
label that more than half of the votes gave to a PrivateTest face, where there is one.
They give no number on FER2013's own labels. The network is known in full from the code,
and `full` is it:

- The picture has 64 pixels, so the window is stretched to that, bilinearly.
- Two blocks of two and two of three 3 x 3 convolutions, 64, 128, 256 and 256 wide, with
  ReLU, and a max pooling after each block. No norms. Not Simonyan & Zisserman's VGG13.
- Two dense layers of 1024 on the flattened 4 x 4, with ReLU, and the logits.
- `dropout` after each dense layer, half of it after each block (theirs: 0.5 and 0.25).
- Weights start as Glorot & Bengio draw them, uniformly. Without norms learning begins
  late: `slim` had not begun after three epochs of SGD at 0.05 with a dropout of 0.5.

Ours differs in the faces: their code evens out each histogram and takes a plane of light
away first, which is no business of a network here. `bn` is ours, with batch norm after
each convolution. `slim` and `slim-bn` are for CPUs: three eighths of all widths, and the
window is not stretched; 3 x 3 are left of 48 pixels.

At 48 pixels, 1 channel and 7 classes:

| variant   | parameters | multiply-adds |
|-----------|-----------:|--------------:|
| `full`    |     8.76 M |         876 M |
| `bn`      |     8.76 M |         876 M |
| `slim`    |     0.98 M |          70 M |
| `slim-bn` |     0.98 M |          70 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {
    "full": (64, 64, False),
    "bn": (64, 64, True),
    "slim": (0, 24, False),
    "slim-bn": (0, 24, True),
}
"""The side to stretch to, if any, the width of the first block, and whether there is batch norm."""

ABLATIONS = {"bn": {"no batch norm": "full"}, "slim-bn": {"no batch norm": "slim"}}
"""What an ablation leaves out, and the variant that does without it."""

BLOCKS = ((1, 2), (2, 2), (4, 3), (4, 3))
"""Of each block: how many times as wide as the first, and its number of convolutions."""


class VGG13(nn.Module):
    """Four blocks, and two dense layers that see every place of the last."""

    def __init__(
        self, side: int, width: int, norm: bool, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.side = side
        self.features = nn.Sequential()
        for times, depth in BLOCKS:
            for _ in range(depth):
                self.features.append(
                    nn.Conv2d(channels, times * width, 3, padding=1, bias=not norm)
                )
                self.features.extend([nn.BatchNorm2d(times * width)] if norm else [])
                self.features.append(nn.ReLU())
                channels = times * width
            self.features.extend([nn.MaxPool2d(2), nn.Dropout(dropout / 2)])
        rest = (side or 48) // 16
        # Where a window below 48 pixels leaves a smaller map, this stretches it.
        self.features.append(nn.AdaptiveAvgPool2d(rest))
        self.head = nn.Sequential(nn.Flatten())
        features = channels * rest**2
        for _ in range(2):
            self.head.extend([nn.Linear(features, 16 * width), nn.ReLU(), nn.Dropout(dropout)])
            features = 16 * width
        self.head.append(nn.Linear(features, classes))

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        if self.side:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        return self.head(self.features(x))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """A VGG13 of that size, with or without norms."""
    model = VGG13(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
