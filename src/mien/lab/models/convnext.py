"""ConvNeXt, a convolutional network built as transformers are, for 48 x 48 faces.

Liu et al. 2022, "A ConvNet for the 2020s", https://arxiv.org/abs/2201.03545.

On FER2013, El Boudouri & Bohi 2023 (EmoNeXt, https://arxiv.org/abs/2501.08199) claim
76.12 % for its largest size, with faces of 224 pixels, weights from ImageNet-22k, a
spatial transformer, squeeze-and-excitation and a loss on attention. For 48 pixels from
scratch nothing is claimed. Ours is ConvNeXt alone:

- As in the paper: a patch stem and a norm; blocks of a 7 x 7 convolution within each
  channel, layer norm, a linear layer to four times the width, GELU and one back, scaled
  (by 1e-6 at first) and added; between stages a norm and a 2 x 2 convolution of stride 2;
  a last norm.
- `dropout` is the rate at which, in training, a face skips the last block (stochastic
  depth; 0.1 in the paper's `tiny`). It rises evenly from zero at the first block.
- Ours differs: patches have 2 pixels, not 4 as in the paper and in `atto-4`, so that 48
  become 24, 12, 6 and 3. A map with an odd side gets a row and a column of zeros before
  it is halved, so that its edge is not lost.
- `tiny` is the paper's smallest. `atto` (Woo et al. 2023,
  https://arxiv.org/abs/2301.00808) is 40 to 320 wide; `slim`, to be trained on a CPU, 16
  to 128.

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
"""Width of the first stage (each next is twice as wide), blocks per stage, pixels of a patch."""

EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each place."""

    def __init__(self, width: int) -> None:
        super().__init__(width, EPSILON)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Halve(nn.Module):
    """A norm, and a convolution that makes one place of two by two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv = nn.Conv2d(width, 2 * width, 2, 2)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 2 C, H / 2, W / 2), rounded up
        x = self.norm(x)
        return self.conv(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))


class Block(nn.Module):
    """Look around in each channel, think at each place, add."""

    def __init__(self, width: int, left_out: float) -> None:
        super().__init__()
        self.left_out = left_out
        self.look = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.think = nn.Sequential(
            nn.LayerNorm(width, EPSILON),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        y = self.scale * self.think(self.look(x).permute(0, 2, 3, 1))
        if self.training and self.left_out:
            y = y * F.dropout(y.new_ones(len(y), 1, 1, 1), self.left_out)
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Patches, four stages, mean over the picture, a norm and one linear layer."""

    def __init__(
        self, width: int, depths: tuple[int, ...], patch: int, channels: int, classes: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, patch, patch), ChannelNorm(width))
        rates = torch.linspace(0, dropout, sum(depths), device="cpu").tolist()
        self.stages = nn.Sequential()
        for number, depth in enumerate(depths):
            if number:
                self.stages.append(Halve(width))
                width *= 2
            self.stages.extend(Block(width, rates.pop(0)) for _ in range(depth))
        self.norm = nn.LayerNorm(width, EPSILON)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.stages(self.stem(x))
        return self.head(self.norm(x.mean((2, 3))))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """A ConvNeXt of that size."""
    model = ConvNeXt(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
