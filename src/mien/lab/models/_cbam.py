"""CBAM, the convolutional block attention module: channel attention, then spatial attention.

Woo et al. 2018, https://arxiv.org/abs/1807.06521. Our choices: reduction 8 instead of 16 and at
least four hidden units; no batch norm after the 7 x 7 convolution, which the authors' code has, but
not their formula. Both attention modules return the attention instead of applying it, so that
forward hooks can read it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """A weight for each channel, from its mean and maximum over all positions."""

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(4, width // reduction)
        self.shared = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 1, 1), 0 to 1
        mean, maximum = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        return (self.shared(mean) + self.shared(maximum)).sigmoid()


class SpatialAttention(nn.Module):
    """A weight for each position, from the mean and maximum over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 1, H, W), 0 to 1
        statistics = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return self.conv(statistics).sigmoid()


class CBAM(nn.Module):
    """Multiplies features by channel weights, then by position weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(width)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        x = x * self.channel(x)
        return x * self.spatial(x)
