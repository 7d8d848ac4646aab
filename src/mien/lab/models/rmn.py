"""The residual masking network: a ResNet34 whose stages are masked by small U-Nets.

Pham et al. 2021, "Facial Expression Recognition Using Residual Masking Network",
https://arxiv.org/abs/2603.05937 (ICPR 2020); the authors' code is at
https://github.com/phamquiluan/ResidualMaskingNetwork.

The authors claim 74.14 % on FER2013's PrivateTest for this network alone, its epoch
chosen on PublicTest, started from ImageNet weights and averaged over ten turned and
mirrored copies of a face; and 76.82 % together with six others, chosen on PrivateTest.

The code is public. Stages of 3, 4, 6 and 3 blocks, 64 to 512 wide; what leaves a stage is
multiplied by one plus its mask. A mask's U-Net has 4, 3, 2 or 1 levels, each twice as
wide as the one before; max pooling shrinks between them, transposed convolutions grow
back. Its answer is a softmax over the channels, so the mask of a place sums to one.

Ours differs: they enlarge faces to 224 pixels, of which stem and max pooling leave 56;
ours stay at 48, with a 3 x 3 stem of stride 1 for both. Stages then have 48, 24, 12 and 6
pixels (theirs 56, 28, 14 and 7), and each U-Net ends at 6 (theirs at 7). Where a smaller
window gives odd sides, maps are rounded up, and cut when they grow back. A transposed
convolution of 2 x 2 is written as a 1 x 1 convolution whose channels move into space: the
same thing.

The 142.9 M parameters that one reads of fit a checkpoint in which the masks' shortcuts
stand under two names each; counted once, they are 137.8 M. `slim` is for CPUs: an eighth
of the widths, two blocks a stage as in ResNet18, a stem of stride 2. `no-masks` and
`slim-no-masks` are the ResNets alone.

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

from mien.lab.models._basicblock import BasicBlock, draw_weights, stages

VARIANTS = {
    "full": (64, (3, 4, 6, 3), 1, True),
    "no-masks": (64, (3, 4, 6, 3), 1, False),
    "slim": (8, (2, 2, 2, 2), 2, True),
    "slim-no-masks": (8, (2, 2, 2, 2), 2, False),
}
"""Width of the first stage (each next is twice as wide), blocks per stage, stride of the stem, and
whether there are masks."""

ABLATIONS = {"full": {"no masks": "no-masks"}, "slim": {"no masks": "slim-no-masks"}}
"""What an ablation leaves out, and the variant that does without it."""


class Grow(nn.Module):
    """A transposed convolution of 2 x 2 and stride 2, norm and ReLU; halves the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, 4 * width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:  # (N, 2 C, H, W) -> (N, C, 2 H, 2 W)
        return F.relu(self.norm(F.pixel_shuffle(self.conv(x), 2)))


class Mask(nn.Module):
    """A U-Net of residual blocks that weighs each channel at each place."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(1, levels + 1)]
        self.down = nn.ModuleList(BasicBlock(w // 2, w) for w in widths)
        self.grow = nn.ModuleList(Grow(w) for w in widths[-2::-1])
        self.up = nn.ModuleList(BasicBlock(2 * w, w) for w in widths[-2::-1])
        self.last = BasicBlock(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, H, W) in 0..1
        seen: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if seen else x)
            seen.append(x)
        for grow, block, before in zip(self.grow, self.up, seen[-2::-1], strict=True):
            x = grow(x)[:, :, : before.shape[2], : before.shape[3]]
            x = block(torch.cat([x, before], 1))
        return self.last(x).softmax(1)


class RMN(nn.Module):
    """Stem, four masked stages, mean over the picture, one linear layer."""

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
    """A residual masking network of that size, with or without masks."""
    model = RMN(*VARIANTS[variant], channels, classes, dropout)
    draw_weights(model)
    for block in model.masks.modules():
        if isinstance(block, BasicBlock):  # as in the authors' masks, not in their stages
            nn.init.zeros_(block.norm2.weight)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
