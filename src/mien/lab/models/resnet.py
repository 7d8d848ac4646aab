"""A small residual network with squeeze-and-excitation for 48 x 48 faces: mien's default.

Papers: He et al. 2016, https://arxiv.org/abs/1512.03385; Hu et al. 2018,
https://arxiv.org/abs/1709.01507.

Our choices:

- A 5 x 5 stem of stride 2 without max pooling, because the faces are small.
- Average pooling in the shortcuts of strided blocks (He et al. 2019,
  https://arxiv.org/abs/1812.01187).
- Squeeze-and-excitation with reduction 8, and at least four hidden units, from the second stage on.
  In the first stage it would take a fifth of the network's time.
- The last batch norm of each block is initialized to zero.

Accuracy on PublicTest's labels: `32` 68.8 % after 45 epochs (results/run-first-seed0-none.json),
`32-deep` 70.5 % after 75 epochs (results/run-default-seed0-none.json), `16` 69.6 % after 291 epochs
of distillation (results/gpu-training.json).

At 48 pixels, 1 channel and 7 classes:

| variant   | parameters | multiply-adds |
|-----------|-----------:|--------------:|
| `32`      |     2.84 M |          78 M |
| `32-deep` |     2.93 M |         100 M |
| `8`       |     0.08 M |           2 M |
| `16`      |     0.71 M |          20 M |
| `64`      |    11.35 M |         313 M |
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.models._initialization import init_convolutions

VARIANTS = {
    "32": (32, (2, 2, 2, 2)),
    "32-deep": (32, (3, 3, 2, 2)),
    "8": (8, (1, 1, 1, 1)),
    "16": (16, (2, 2, 2, 2)),
    "64": (64, (2, 2, 2, 2)),
}
"""Width of the first stage (doubled in each later stage) and blocks per stage."""


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a weight that is computed from the means of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(4, width // 8)
        self.down = nn.Conv2d(width, hidden, 1)
        self.up = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        weights = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return x * weights


class Block(nn.Module):
    """Two 3 x 3 convolutions, optional squeeze-and-excitation, and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)
        self.squeeze = SqueezeExcitation(width) if squeeze else nn.Identity()
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if width_in != width:
            self.shortcut.append(nn.Conv2d(width_in, width, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))

    # (N, C_in, H, W) -> (N, C, H / stride, W / stride), rounded up
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.squeeze(self.norm2(self.conv2(y)))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, four stages, global average pooling, one linear layer."""

    def __init__(
        self, width: int, depths: tuple[int, ...], channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width * 2**stage for stage in range(len(depths))]
        self.stages = nn.Sequential()
        for stage, (width_out, depth) in enumerate(zip(widths, depths, strict=True)):
            for k in range(depth):
                stride = 2 if stage > 0 and k == 0 else 1
                self.stages.append(Block(width, width_out, stride, squeeze=stage > 0))
                width = width_out
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        x = self.stages(self.stem(x))
        return self.head(self.dropout(x.mean((2, 3))))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = ResNet(*VARIANTS[variant], channels, classes, dropout)
    init_convolutions(model)
    return model
