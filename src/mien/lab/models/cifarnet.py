"""ResNet18 in the form made for CIFAR's small pictures, which FER2013's good recipes use.

He et al. 2016, https://arxiv.org/abs/1512.03385; the small form (a 3 x 3 stem of stride 1
and no max pooling) comes from K. Liu's pytorch-cifar. Two public repositories train it on
FER2013 from scratch: WuJie1010/Facial-Expression-Recognition.Pytorch claims 72.97 % on
PrivateTest, LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch (X. Yuan) 73.70 %.

Both codes are public, so all is known: four stages of two blocks, 64, 128, 256 and 512
wide, and one linear layer; the answers to ten crops, of 44 and of 40 pixels, are
averaged. Both name the epoch that is best on PrivateTest itself; an honest number would
be lower.

Ours differs: the mean is taken over the whole last map. Theirs, a pooling of 4 x 4 made
for 32 pixels, leaves out its right and lower edge. Dropout comes before the linear layer,
as in WuJie1010's (0.5); LetheSec's has none. `slim` has a quarter of the widths, to be
trained on a CPU.

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `18`    |    11.17 M |        1247 M |
| `slim`  |     0.70 M |          78 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.lab.models._basicblock import draw_weights, stages

VARIANTS = {"18": 64, "slim": 16}
"""Width of the first stage; each next is twice as wide."""


class CifarNet(nn.Module):
    """Stem, four stages, mean over the picture, one linear layer."""

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
    """A ResNet18 for small pictures, of that width."""
    model = CifarNet(VARIANTS[variant], channels, classes, dropout)
    draw_weights(model)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
