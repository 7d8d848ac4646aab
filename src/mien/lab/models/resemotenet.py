"""ResEmoteNet: convolutions, squeeze-and-excitation and three very wide residual blocks.

Paper: Roy et al. 2024, "ResEmoteNet: Bridging Accuracy and Loss Reduction in Facial Emotion
Recognition", https://arxiv.org/abs/2409.10545; the authors' code is at
https://github.com/ArnabKumarRoy02/ResEmoteNet.

Claims: 79.79 % on FER2013. In the issues of the repository, users report test faces in the training
set, and 58 to 66 % accuracy when they train the network themselves.

The authors' code is complete; `full` has the same layers:

- Crops are resized bilinearly to 64 pixels.
- Three 3 x 3 convolutions with 64, 128 and 256 channels, each followed by batch norm, ReLU
  and max pooling. Dropout with probability 0.2 after the first two.
- Squeeze-and-excitation with reduction 16, without biases.
- Three residual blocks with stride 2 and 512, 1024 and 2048 channels, and global average pooling.
- Dense layers of 1024, 512 and 256 with ReLU, and dropout with probability 0.5.

Our choices:

- Dropout has probability `dropout` after the dense layers, and 0.4 x `dropout` after the first two
  max poolings. With `dropout=0.5`, these are the probabilities of the authors' code.
- He initialization of the convolutions instead of torch's default.
- `no-se` has no squeeze-and-excitation.
- `slim` and `slim-no-se`, for CPUs, have three eighths of the channels and do not resize crops.

Accuracy on PublicTest's labels: `slim` 54.5 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant      | parameters | multiply-adds |
|--------------|-----------:|--------------:|
| `full`       |    80.24 M |         332 M |
| `no-se`      |    80.23 M |         332 M |
| `slim`       |    11.29 M |          34 M |
| `slim-no-se` |    11.29 M |          34 M |
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.models._basicblock import BasicBlock
from mien.lab.models._initialization import init_convolutions


@dataclass(frozen=True)
class Parts:
    """The components of a variant.

    Attributes:
        side: Side in pixels to which faces are resized; 0 for no resizing.
        width: Number of channels of the first convolution.
        squeeze: Whether the network has squeeze-and-excitation.
    """

    side: int = 64
    width: int = 64
    squeeze: bool = True


VARIANTS = {
    "full": Parts(),
    "no-se": Parts(squeeze=False),
    "slim": Parts(side=0, width=24),
    "slim-no-se": Parts(side=0, width=24, squeeze=False),
}
"""Variant -> its components."""

_ABLATION = "no squeeze-and-excitation"

ABLATIONS = {"full": {_ABLATION: "no-se"}, "slim": {_ABLATION: "slim-no-se"}}
"""Variant -> description of an ablation -> variant with that ablation."""


class SqueezeExcitation(nn.Module):
    """Multiplies each channel by a weight that is computed from the means of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, width // 16, bias=False)
        self.up = nn.Linear(width // 16, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        weights = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()
        return x * weights[:, :, None, None]


class ResEmoteNet(nn.Module):
    """Convolutions, squeeze-and-excitation, residual blocks, pooling, dense layers."""

    def __init__(self, parts: Parts, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.side, width = parts.side, parts.width
        self.features = nn.Sequential()
        for k in range(3):
            self.features.append(nn.Conv2d(channels, width, 3, padding=1))
            self.features.extend([nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)])
            if k < 2:
                self.features.append(nn.Dropout(0.4 * dropout))
            channels, width = width, 2 * width
        self.squeeze = SqueezeExcitation(channels) if parts.squeeze else nn.Identity()
        self.blocks = nn.Sequential()
        for _ in range(3):
            self.blocks.append(BasicBlock(channels, 2 * channels, stride=2, bias=True))
            channels *= 2
        self.head = nn.Sequential()
        for _ in range(3):
            self.head.extend([nn.Linear(channels, channels // 2), nn.ReLU(), nn.Dropout(dropout)])
            channels //= 2
        self.head.append(nn.Linear(channels, classes))

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> (N, classes) logits
        if self.side:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        x = self.blocks(self.squeeze(self.features(x)))
        return self.head(x.mean((2, 3)))


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = ResEmoteNet(VARIANTS[variant], channels, classes, dropout)
    init_convolutions(model)
    return model
