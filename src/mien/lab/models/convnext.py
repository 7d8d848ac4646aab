"""ConvNeXt, a convolutional network designed like vision transformers, for 48 x 48 faces.

Paper: Liu et al. 2022, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545.

Claims: on FER2013, El Boudouri & Bohi 2023 (EmoNeXt, https://arxiv.org/abs/2501.08199) claim
76.12 % for the largest EmoNeXt with faces of 224 pixels, ImageNet-22k weights, a spatial
transformer, squeeze-and-excitation and an attention loss. There is no claim for training from
scratch with 48 pixels.

The source states:

- Stem: non-overlapping patches (a convolution whose stride is its kernel size) and layer norm.
- Residual blocks: a 7 x 7 depthwise convolution, layer norm, a linear layer to four times the
  width, GELU, a linear layer back to the width, and a learned scale per channel, initially 1e-6.
- Between stages: layer norm and a 2 x 2 convolution of stride 2.
- Head: global average pooling, layer norm and one linear layer.

Our choices:

- ConvNeXt alone, without the additions of EmoNeXt.
- `dropout` is the rate of stochastic depth of the last block (0.1 in the paper's `tiny`). The rate
  rises linearly from zero at the first block.
- Patches of 2 x 2 pixels, so that feature maps are 24, 12, 6 and 3 pixels wide. Only `atto-4` has
  the paper's 4 x 4. Maps of odd size are zero-padded before downsampling.
- `tiny` is the paper's smallest network. `atto` (Woo et al. 2023, https://arxiv.org/abs/2301.00808)
  is 40 to 320 wide; `slim` is 16 to 128 wide, for CPUs.

Accuracy on PublicTest's labels: `atto` 55.3 % after 34 epochs (results/gpu-training.json); `slim`
27.5 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant  | parameters | multiply-adds |
|----------|-----------:|--------------:|
| `atto`   |     3.38 M |          99 M |
| `atto-4` |     3.38 M |          28 M |
| `slim`   |     0.57 M |          17 M |
| `tiny`   |    27.82 M |         816 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {
    "atto": (40, (2, 2, 6, 2), 2),
    "atto-4": (40, (2, 2, 6, 2), 4),
    "slim": (16, (2, 2, 6, 2), 2),
    "tiny": (96, (3, 3, 9, 3), 2),
}
"""Width of the first stage (doubled in each later stage), blocks per stage, size of a patch."""

EPSILON = 1e-6
"""Epsilon of the layer norms."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position."""

    def __init__(self, width: int) -> None:
        super().__init__(width, EPSILON)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """Layer norm and a 2 x 2 convolution of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv = nn.Conv2d(width, 2 * width, 2, 2)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 2 C, H / 2, W / 2), rounded up
        x = self.norm(x)
        return self.conv(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))


class Block(nn.Module):
    """A residual block: depthwise convolution, two pointwise linear layers, stochastic depth."""

    def __init__(self, width: int, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.pointwise = nn.Sequential(
            nn.LayerNorm(width, EPSILON),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        y = self.scale * self.pointwise(self.depthwise(x).permute(0, 2, 3, 1))
        if self.training and self.drop_rate:  # zero for some faces, rescaled for the others
            y = y * F.dropout(y.new_ones(len(y), 1, 1, 1), self.drop_rate)
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patch stem, four stages, global average pooling, layer norm and one linear layer."""

    def __init__(
        self, width: int, depths: tuple[int, ...], patch: int, channels: int, classes: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, patch, patch), ChannelNorm(width))
        # On the CPU even if the network is built on the meta device, which has no values.
        drop_rates = iter(torch.linspace(0, dropout, sum(depths), device="cpu").tolist())
        self.stages = nn.Sequential()
        for stage, depth in enumerate(depths):
            if stage > 0:
                self.stages.append(Downsample(width))
                width *= 2
            for _ in range(depth):
                self.stages.append(Block(width, next(drop_rates)))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.stages(self.stem(x))
        return self.head(self.norm(x.mean((2, 3))))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = ConvNeXt(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
