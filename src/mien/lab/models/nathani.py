"""VGG16 with more convolutions and regularization.

Paper: Nathani 2024, "A Comparative Study of Transfer Learning for Emotion Recognition using CNN and
Modified VGG16 Models", https://arxiv.org/abs/2407.14576; VGG16 is by Simonyan & Zisserman 2015,
https://arxiv.org/abs/1409.1556.

Claims: Abdulkadir et al. 2025 cite two accuracies on FER2013, 66.20 % in their text and 67.43 % in
their table. The first may be that of the CNN and the second that of the modified VGG16.

The source states (we had the abstract and a public summary):

- A modified VGG16 is slightly more accurate than the baseline CNN, an unmodified VGG16, on FER2013
  and on AffectNet.
- The modified VGG16 has more convolutions, larger dense layers and regularization.
- The learning rate is reduced on plateaus.

The numbers and widths of layers are unknown to us.

Our choices:

- `vgg16` has thirteen 3 x 3 convolutions in five blocks, and two dense layers of 512. `modified`
  has a fourth convolution in each of the last two blocks, and dense layers of 1024.
- Batch norm and ReLU after each convolution, since such a deep network is hard to train from
  scratch without batch norm.
- Max pooling between blocks, global max pooling after the last, and `dropout` after each dense
  layer.
- `slim` and `slim-vgg16` have a quarter of all widths, for CPUs.

Accuracy on PublicTest's labels: `slim` 57.3 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant      | parameters | multiply-adds |
|--------------|-----------:|--------------:|
| `modified`   |    21.02 M |         810 M |
| `vgg16`      |    15.25 M |         703 M |
| `slim`       |     1.32 M |          51 M |
| `slim-vgg16` |     0.96 M |          44 M |
"""

from __future__ import annotations

from torch import nn

VGG16 = (2, 2, 3, 3, 3)
"""Number of convolutions of each block of VGG16."""

MODIFIED = (2, 2, 3, 4, 4)
"""Number of convolutions of each block of the modified VGG16."""

VARIANTS = {
    "modified": (64, MODIFIED, 16),
    "vgg16": (64, VGG16, 8),
    "slim": (16, MODIFIED, 16),
    "slim-vgg16": (16, VGG16, 8),
}
"""Width of the first block, convolutions per block, and width of the dense layers relative to the
first block."""

_ABLATION = "no added depth or width"

ABLATIONS = {"modified": {_ABLATION: "vgg16"}, "slim": {_ABLATION: "slim-vgg16"}}
"""Variant -> description of an ablation -> variant with that ablation."""

RELATIVE_WIDTHS = (1, 2, 4, 8, 8)
"""Width of each block relative to the first block."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: blocks of convolutions, dense layers, logits."""
    width, depths, dense_factor = VARIANTS[variant]
    dense_width = width * dense_factor
    layers = nn.Sequential()
    for number, (factor, depth) in enumerate(zip(RELATIVE_WIDTHS, depths, strict=True)):
        if number > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(depth):
            layer = nn.Conv2d(channels, width * factor, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            channels = width * factor
            layers.extend([layer, nn.BatchNorm2d(channels), nn.ReLU()])
    layers.extend([nn.AdaptiveMaxPool2d(1), nn.Flatten()])
    layers.extend([nn.Linear(channels, dense_width), nn.ReLU(), nn.Dropout(dropout)])
    layers.extend([nn.Linear(dense_width, dense_width), nn.ReLU(), nn.Dropout(dropout)])
    return layers.append(nn.Linear(dense_width, classes))
