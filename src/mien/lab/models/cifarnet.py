"""ResNet18 for small images, which public repositories train on FER2013 from scratch.

Paper: He et al. 2016, https://arxiv.org/abs/1512.03385. The variant for small images, with a 3 x 3
stem of stride 1 and no max pooling, is that of K. Liu's pytorch-cifar for CIFAR.

Claims, on PrivateTest, without other data:

- WuJie1010/Facial-Expression-Recognition.Pytorch: 72.97 %.
- LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch (X. Yuan): 73.70 %.

Both select the epoch on PrivateTest itself, so their numbers are optimistically biased.

Both repositories state everything: four stages of two blocks, 64, 128, 256 and 512 wide, and one
linear layer. The logits of ten crops are averaged; the crops have 44 pixels (WuJie1010) or 40
(LetheSec).

Our choices:

- Global average pooling. Their 4 x 4 pooling, made for images of 32 pixels, ignores the right and
  lower edges of the map.
- Dropout before the linear layer, as in WuJie1010 (0.5), but not in LetheSec.
- `slim` has a quarter of the widths, for CPUs.

Accuracy on PublicTest's labels: `18` 71.6 % after 59 epochs (results/gpu-training.json); `slim`
59.6 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `18`    |    11.17 M |        1247 M |
| `slim`  |     0.70 M |          78 M |
"""

from __future__ import annotations

from torch import Tensor, nn

from mien.lab.models._basicblock import stages
from mien.lab.models._initialization import init_convolutions

VARIANTS = {"18": 64, "slim": 16}
"""Width of the first stage; each later stage is twice as wide as the one before."""


class CifarNet(nn.Module):
    """Stem, four stages, global average pooling, one linear layer."""

    def __init__(self, width: int, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.stages = stages(width, widths, (2, 2, 2, 2))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.stages(self.stem(x))
        return self.head(self.dropout(x.mean((2, 3))))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = CifarNet(VARIANTS[variant], channels, classes, dropout)
    init_convolutions(model)
    return model
