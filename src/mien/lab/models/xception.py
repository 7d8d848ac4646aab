"""Mini-Xception: depthwise separable convolutions with shortcuts, and no dense layer.

Paper: Krishna, Vijayalakshmi & Balaji 2022, "A Robust Emotion Detection and Music Recommendation
System using Mini Xception CNN", https://doi.org/10.22214/ijraset.2022.48387. The network is by
Arriaga, Valdenegro-Toro & Plöger 2017, https://arxiv.org/abs/1710.07557, after Chollet 2017,
https://arxiv.org/abs/1610.02357.

Claims on FER2013: Krishna et al. 92 %, Arriaga et al. 66 %.

The source states the network and the data ("35000 face images"), but not the split or the training.
Arriaga's code, `mini_XCEPTION` of https://github.com/oarriaga/face_classification, states the
layers:

- Two 3 x 3 convolutions without padding, 8 wide.
- Four blocks with 16, 32, 64 and 128 channels, each of two separable convolutions and max
  pooling of stride 2. The shortcut is a 1 x 1 convolution of the same stride.
- A 3 x 3 convolution to one map per class. The mean of a map is the logit of its class.
- Batch norm after each convolution but the last.
- 58,423 parameters in Keras's count, which includes running means and variances. Ours has as many.

Our choices: faces of 48 pixels instead of faces resized to 64, equal zero padding on both sides
instead of Keras's "same" padding, no L2 penalty on the first two convolutions, and `dropout` before
the last convolution, where the code has none. `plain` has no shortcuts.

Accuracy on PublicTest's labels: `mini` 51.5 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `mini`  |     0.06 M |           6 M |
| `plain` |     0.05 M |           5 M |
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

VARIANTS = {"mini": True, "plain": False}
"""Variant -> whether its blocks have shortcuts."""

ABLATIONS = {"mini": {"no shortcuts": "plain"}}
"""Variant -> description of an ablation -> variant with that ablation."""

STEM_WIDTH = 8
"""Width of the first two convolutions."""

WIDTHS = (16, 32, 64, 128)
"""Widths of the blocks."""


def separable(width_in: int, width: int) -> list[nn.Module]:
    """A 3 x 3 depthwise convolution, a 1 x 1 convolution, and batch norm."""
    return [
        nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False),
        nn.Conv2d(width_in, width, 1, bias=False),
        nn.BatchNorm2d(width),
    ]


class Block(nn.Module):
    """Two separable convolutions and max pooling, with an optional shortcut."""

    def __init__(self, width_in: int, width: int, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *separable(width_in, width), nn.ReLU(), *separable(width, width), nn.MaxPool2d(3, 2, 1)
        )
        self.shortcut = nn.Sequential()
        if shortcut:
            self.shortcut.append(nn.Conv2d(width_in, width, 1, 2, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C, H / 2, W / 2), rounded up
        y = self.body(x)
        return y + self.shortcut(x) if len(self.shortcut) else y


class Xception(nn.Module):
    """Stem, four blocks, a convolution to one map per class, and global average pooling."""

    def __init__(self, shortcuts: bool, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        for width_in in (channels, STEM_WIDTH):
            self.stem.append(nn.Conv2d(width_in, STEM_WIDTH, 3, bias=False))
            self.stem.extend([nn.BatchNorm2d(STEM_WIDTH), nn.ReLU()])
        self.blocks = nn.Sequential()
        for width_in, width in pairwise((STEM_WIDTH, *WIDTHS)):
            self.blocks.append(Block(width_in, width, shortcuts))
        self.dropout = nn.Dropout(dropout)
        self.maps = nn.Conv2d(WIDTHS[-1], classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.maps(self.dropout(self.blocks(self.stem(x)))).mean((2, 3))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = Xception(VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            # Not fan_out, for which torch ignores the groups of depthwise convolutions.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model
