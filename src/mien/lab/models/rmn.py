"""The residual masking network: a ResNet34 with a small U-Net that masks each stage.

Paper: Pham et al. 2021, "Facial Expression Recognition Using Residual Masking Network",
https://arxiv.org/abs/2603.05937 (ICPR 2020); the authors' code is at
https://github.com/phamquiluan/ResidualMaskingNetwork.

Claims on PrivateTest:

- 74.14 % for this network, with ImageNet weights, the epoch selected on PublicTest, and test-time
  augmentation of ten rotated and flipped copies.
- 76.82 % for an ensemble with six other networks, selected on PrivateTest.

The code states everything:

- Stages of 3, 4, 6 and 3 blocks, 64 to 512 wide. The output of a stage is multiplied by (1 + mask).
- The U-Nets of the four masks have 4, 3, 2 and 1 levels. Each level is twice as wide as the one
  above. Max pooling leads to the level below, transposed convolutions lead to the level above.
- A softmax over channels makes the mask sum to one at each position.

The often cited 142.9 M parameters count the shortcuts of the masks twice, because the checkpoint
stores them under two names. Counted once, there are 137.8 M parameters.

Our choices:

- The authors resize faces to 224 pixels, which the stem and max pooling reduce to 56. Our faces
  stay at 48 pixels, with a 3 x 3 stem of stride 1. The feature maps of the stages have 48, 24, 12
  and 6 pixels (the authors' 56, 28, 14 and 7), and the smallest map of each U-Net has 6 (the
  authors' 7).
- In a U-Net, odd sizes are rounded up by max pooling, and the upsampled maps are cropped to them.
- The 2 x 2 transposed convolution is implemented as an equivalent 1 x 1 convolution with pixel
  shuffle.
- `slim`, for CPUs, has an eighth of the widths, two blocks per stage as in ResNet18, and a stem of
  stride 2.
- `no-masks` and `slim-no-masks` are the ResNets alone.

Accuracy on PublicTest's labels: `slim` 48.2 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant         | parameters | multiply-adds |
|-----------------|-----------:|--------------:|
| `full`          |   137.79 M |       16007 M |
| `no-masks`      |    21.28 M |        2606 M |
| `slim`          |     2.00 M |          57 M |
| `slim-no-masks` |     0.18 M |           5 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.models._basicblock import BasicBlock, stages
from mien.lab.models._initialization import init_convolutions

VARIANTS = {
    "full": (64, (3, 4, 6, 3), 1, True),
    "no-masks": (64, (3, 4, 6, 3), 1, False),
    "slim": (8, (2, 2, 2, 2), 2, True),
    "slim-no-masks": (8, (2, 2, 2, 2), 2, False),
}
"""Width of the first stage (doubled in each later stage), blocks per stage, stride of the stem, and
whether there are masks."""

ABLATIONS = {"full": {"no masks": "no-masks"}, "slim": {"no masks": "slim-no-masks"}}
"""Variant -> description of an ablation -> variant with that ablation."""


class Upsample(nn.Module):
    """A 2 x 2 transposed convolution of stride 2, batch norm and ReLU; halves the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, 4 * width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:  # (N, 2 C, H, W) -> (N, C, 2 H, 2 W)
        return F.relu(self.norm(F.pixel_shuffle(self.conv(x), 2)))


class Mask(nn.Module):
    """A U-Net of residual blocks that computes a weight for each channel and position."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(1, levels + 1)]
        self.down = nn.ModuleList(BasicBlock(w // 2, w) for w in widths)
        # From the level above the lowest one upwards.
        self.upsample = nn.ModuleList(Upsample(w) for w in widths[-2::-1])
        self.up = nn.ModuleList(BasicBlock(2 * w, w) for w in widths[-2::-1])
        self.last = BasicBlock(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W), 0 to 1
        maps: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if maps else x)
            maps.append(x)
        for upsample, block, skip in zip(self.upsample, self.up, maps[-2::-1], strict=True):
            x = upsample(x)[:, :, : skip.shape[2], : skip.shape[3]]
            x = block(torch.cat([x, skip], 1))
        return self.last(x).softmax(1)


class RMN(nn.Module):
    """Stem, four masked stages, global average pooling, one linear layer."""

    def __init__(
        self, width: int, depths: tuple[int, ...], stride: int, masked: bool, channels: int,
        classes: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.stages = stages(width, widths, depths)
        self.masks = nn.ModuleList(Mask(w, 4 - k) for k, w in enumerate(widths) if masked)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.stem(x)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if len(self.masks):
                x = x * (1 + self.masks[number](x))
        return self.head(self.dropout(x.mean((2, 3))))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = RMN(*VARIANTS[variant], channels, classes, dropout)
    init_convolutions(model)
    for block in model.masks.modules():
        if isinstance(block, BasicBlock):  # in the masks only, as in the authors' code
            nn.init.zeros_(block.norm2.weight)
    return model
