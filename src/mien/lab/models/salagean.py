"""A convolutional network that first reduces the asymmetry of a face.

Paper: Sălăgean, Leba & Ionica 2025, "Leveraging Symmetry and Addressing Asymmetry Challenges for
Improved Convolutional Neural Network-Based Facial Emotion Recognition",
https://www.mdpi.com/2073-8994/17/3/397.

Claims: 69 % on FER2013, as Abdulkadir et al. cite it.

The source states (we had only the abstract):

- "A custom-designed CNN architecture that extracts robust, multi-level facial features".
- Preprocessing "to correct or reduce asymmetry before classification".
- "Vertical flipping and shuffling", which make "symmetric variations".
- A "Loss Weight parameter" for unbalanced classes.

Layers, widths and training are unknown to us.

Our choices:

- The preprocessing is a layer without weights, so that model files contain it. It flips the face
  at vertical lines up to a twelfth of the width from the center, and averages the flipped faces,
  weighted by their agreement with the face. The asymmetry is half of the difference between the
  face and this average. The layer removes the low frequencies of the asymmetry (light from one
  side), but only half of the high frequencies (so that a crooked smile remains visible).
- Four blocks with 32, 64, 128 and 256 channels, each of two 3 x 3 convolutions with batch norm
  and ReLU, and max pooling. Dropout with probability `dropout` / 2 follows each block.
- "Multi-level": the channel means of all four blocks are concatenated. A dense layer of 256 with
  batch norm, ReLU and `dropout` follows.
- "Vertical flipping" is interpreted as flipping left and right. Flipping and class weights are set
  in the config.
- `no-symmetry` has no preprocessing. `slim` and `slim-no-symmetry` have half of the widths, for
  CPUs.

Accuracy on PublicTest's labels: `slim` 55.8 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant            | parameters | multiply-adds |
|--------------------|-----------:|--------------:|
| `full`             |     1.30 M |         118 M |
| `no-symmetry`      |     1.30 M |         118 M |
| `slim`             |     0.33 M |          30 M |
| `slim-no-symmetry` |     0.33 M |          30 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.models._initialization import init_convolutions

VARIANTS = {
    "full": (32, True),
    "no-symmetry": (32, False),
    "slim": (16, True),
    "slim-no-symmetry": (16, False),
}
"""Width of the first block (doubled in each later block), and whether asymmetry is reduced."""

ABLATIONS = {
    "full": {"no symmetry": "no-symmetry"},
    "slim": {"no symmetry": "slim-no-symmetry"},
}
"""Variant -> description of an ablation -> variant with that ablation."""

MIDLINE_SELECTIVITY = 30.0
"""Factor of the agreement of each vertical line before the softmax; larger values give more weight
to the best line."""


class Symmetry(nn.Module):
    """A layer without weights that reduces the asymmetry of a face.

    Args:
        keep: Fraction of the high-frequency asymmetry that is kept.
    """

    def __init__(self, keep: float = 0.5) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:  # (N, C, side, side) -> the same shape
        asymmetry = (x - flip_at_midline(x)) / 2
        low = low_pass(asymmetry)
        return x - low - (1 - self.keep) * (asymmetry - low)


def flip_at_midline(x: Tensor) -> Tensor:
    """Flip each face at its own midline: (N, C, side, side) -> the same shape.

    The result is the mean of flips at several lines, weighted by their agreement with the face.
    """
    side = x.shape[3]
    max_shift = round(side / 6)  # twice the largest distance of the midline from the center
    padded = F.pad(x.flip(3), (max_shift, max_shift, 0, 0), mode="replicate")
    flipped = padded.unfold(3, side, 1)  # (N, C, side, shifts, side)
    differences = (x[:, :, :, None] - flipped).square().mean((1, 2, 4))  # (N, shifts)
    mean_difference = differences.mean(1, keepdim=True).clamp(min=1e-3)  # 0 for a uniform face
    weights = (-MIDLINE_SELECTIVITY * differences / mean_difference).softmax(1)
    return (weights[:, None, None, :, None] * flipped).sum(3)


def low_pass(x: Tensor) -> Tensor:
    """Blur twice with a 9 x 9 mean filter: a standard deviation of about 3.7 pixels."""
    for _ in range(2):
        x = F.avg_pool2d(x, 9, 1, 4, count_include_pad=False)
    return x


class CNN(nn.Module):
    """Four blocks of convolutions, and a head on the channel means of all blocks."""

    def __init__(
        self, width: int, symmetry: bool, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.symmetry = Symmetry() if symmetry else nn.Identity()
        self.blocks = nn.ModuleList()
        widths = [width * 2**number for number in range(4)]
        for width_out in widths:
            block = nn.Sequential()
            for width_in in (channels, width_out):
                block.append(nn.Conv2d(width_in, width_out, 3, padding=1, bias=False))
                block.extend([nn.BatchNorm2d(width_out), nn.ReLU()])
            block.extend([nn.MaxPool2d(2, ceil_mode=True), nn.Dropout(dropout / 2)])
            self.blocks.append(block)
            channels = width_out
        dense = 8 * width
        self.head = nn.Sequential(
            nn.Linear(sum(widths), dense, bias=False), nn.BatchNorm1d(dense), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(dense, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.symmetry(x)
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x.mean((2, 3)))
        return self.head(torch.cat(levels, 1))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = CNN(*VARIANTS[variant], channels, classes, dropout)
    init_convolutions(model)
    return model
