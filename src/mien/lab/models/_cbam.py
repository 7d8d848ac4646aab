"""CBAM, the convolutional block attention module: channel attention, then spatial attention.

Woo et al. 2018, https://arxiv.org/abs/1807.06521. Our choices: no norm after the 7 x 7 convolution
(the authors' code has one, their formula has none), and at least four hidden units. Both attentions
return their weights, so that forward hooks can read them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weights for channels, from their mean and maximum over the map."""

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(4, width // reduction)
        self.shared = nn.Sequential(
            nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 1, 1) in 0..1
        mean, largest = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        return (self.shared(mean) + self.shared(largest)).sigmoid()


class SpatialAttention(nn.Module):
    """Weights for positions, from the mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, 1, H, W) in 0..1
        statistics = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return self.conv(statistics).sigmoid()


class CBAM(nn.Module):
    """Features weighted by channel, then by position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(width)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        x = x * self.channel(x)
        return x * self.spatial(x)
