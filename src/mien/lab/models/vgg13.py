"""The VGG13 of the authors of FER+: ten convolutions and three dense layers.

Paper: Barsoum et al. 2016, "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", https://arxiv.org/abs/1608.01041; the authors' code is at
https://github.com/microsoft/FERPlus.

Claims: about 84 to 85 % on FER+ (PrivateTest, strict majorities), depending on how votes are used
as targets. There is no claim for FER2013's own labels.

The code states everything; `full` is the same network:

- Crops are resized bilinearly to 64 pixels.
- Four blocks of two, two, three and three 3 x 3 convolutions, 64, 128, 256 and 256 wide, with ReLU
  and without batch norm. Max pooling follows each block. The VGG13 of Simonyan & Zisserman is
  another network.
- Two dense layers of 1024 with ReLU on the flattened last feature map (4 x 4), and a third for the
  logits.
- Dropout of 0.5 after each of the two dense layers and 0.25 after each block; here the
  probabilities are `dropout` and half of it.
- Glorot uniform initialization.

Our choices:

- Their preprocessing is left out: histogram equalization, and the subtraction of a plane that is
  fitted to the brightness.
- `bn` has batch norm after each convolution. Without batch norm, training starts slowly: `slim` was
  at chance level after three epochs of SGD with lr 0.05 and dropout 0.5.
- `slim` and `slim-bn`, for CPUs, have three eighths of all widths, do not resize, and have a last
  feature map of 3 x 3.

Accuracy on PublicTest's labels: `bn` 71.0 % after 81 epochs (results/gpu-training.json); `slim-bn`
58.7 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant   | parameters | multiply-adds |
|-----------|-----------:|--------------:|
| `full`    |     8.76 M |         876 M |
| `bn`      |     8.76 M |         876 M |
| `slim`    |     0.98 M |          70 M |
| `slim-bn` |     0.98 M |          70 M |
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {
    "full": (64, 64, False),
    "bn": (64, 64, True),
    "slim": (0, 24, False),
    "slim-bn": (0, 24, True),
}
"""Side in pixels to which faces are resized (0 for no resizing), width of the first block, and
whether there is batch norm."""

ABLATIONS = {"bn": {"no batch norm": "full"}, "slim-bn": {"no batch norm": "slim"}}
"""Variant -> description of an ablation -> variant with that ablation."""

BLOCKS = ((1, 2), (2, 2), (4, 3), (4, 3))
"""Per block: width relative to the first block, and number of convolutions."""


class VGG13(nn.Module):
    """Four blocks of convolutions, and three dense layers on the flattened last feature map."""

    def __init__(
        self, side: int, width: int, norm: bool, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.side = side
        self.features = nn.Sequential()
        for factor, depth in BLOCKS:
            for _ in range(depth):
                self.features.append(
                    nn.Conv2d(channels, factor * width, 3, padding=1, bias=not norm)
                )
                if norm:
                    self.features.append(nn.BatchNorm2d(factor * width))
                self.features.append(nn.ReLU())
                channels = factor * width
            self.features.extend([nn.MaxPool2d(2), nn.Dropout(dropout / 2)])
        # Maps of smaller faces are resized to the size for 48 pixels.
        final_size = (side or 48) // 2 ** len(BLOCKS)
        self.features.append(nn.AdaptiveAvgPool2d(final_size))
        self.head = nn.Sequential(nn.Flatten())
        features = channels * final_size**2
        for _ in range(2):
            self.head.extend([nn.Linear(features, 16 * width), nn.ReLU(), nn.Dropout(dropout)])
            features = 16 * width
        self.head.append(nn.Linear(features, classes))

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        if self.side:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        return self.head(self.features(x))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = VGG13(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
