"""FERC: one network removes the background, a second classifies the face.

Paper: Raj, Wassay & Verma 2022, "A Study on Detection of Emotions with the Help of Convolutional
Neural Network", https://doi.org/10.1109/ICCMSO58359.2022.00073. Abdulkadir et al. cite it as a
"two-stage CNN" named FERC, which is that of Mehendale 2020,
https://doi.org/10.1007/s42452-020-2234-1.

Claims: 84.92 % on 28 K images of FER2013 (as cited); Mehendale claims 96 % for five emotions on 10
K images of 154 persons.

The source (Mehendale) states: two networks in series, each of four layers of four 3 x 3 filters,
where four is the best of 1 to 8. The input of the first network is a map of skin tones and a Hough
transform, which detects circles in gray images. The second network outputs an "expressional vector"
of 24 values, which a perceptron classifies. Strides, poolings, norms, losses and the target of the
first network are unknown to us.

Our choices:

- The target of the mask comes from a Hough transform for ellipses instead of circles: edges vote
  for 120 ellipses, and the target is their mean, weighted by votes and by centrality. The target is
  needed in training only; the cross-entropy of the mask with the target is `auxiliary`.
- The mask is computed on a grid of 24 x 24 by convolutions of dilation 1, 2, 4 and 8 (a receptive
  field of 15 grid points in each direction) and a 1 x 1 convolution. The face is multiplied by the
  mask.
- The second network has batch norm and ReLU after each convolution and max pooling between them.
  Its last map is 6 x 6 for faces of 48 pixels (smaller maps are resized to that) and is flattened.
  The vector has batch norm and ReLU, and `dropout` before it.
- `wide` has 32 filters instead of four; `no-mask` and `wide-no-mask` lack the first network.

Measured on PublicTest's labels after 10 epochs: `full` 40.9 %, `wide` 55.2 % (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant        | parameters | multiply-adds |
|----------------|-----------:|--------------:|
| `full`         |    0.005 M |         0.5 M |
| `wide`         |    0.084 M |        23.8 M |
| `no-mask`      |    0.004 M |         0.2 M |
| `wide-no-mask` |    0.056 M |         7.7 M |
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VARIANTS = {
    "full": (4, True),
    "wide": (32, True),
    "no-mask": (4, False),
    "wide-no-mask": (32, False),
}
"""Filters per layer, and whether the background is removed."""

ABLATIONS = {
    "full": {"no background removal": "no-mask"},
    "wide": {"no background removal": "wide-no-mask"},
}
"""Variant -> name of an ablation -> variant without that part."""

VECTOR = 24
"""Number of values of the expressional vector."""

GRID = 24
"""Width and height of the mask before it is resized to the face."""

FINAL_SIZE = 6
"""Width and height of the last map for faces of 48 pixels."""


class Ellipses(nn.Module):
    """A Hough transform for ellipses that gives the target of the mask. It has no weights."""

    masks: Tensor
    rims: Tensor
    central: Tensor

    def __init__(self) -> None:
        super().__init__()
        across, down, half_width, aspect = torch.meshgrid(
            torch.tensor([-0.24, -0.12, 0.0, 0.12, 0.24]),
            torch.tensor([-0.16, 0.0, 0.16]),
            torch.tensor([0.56, 0.66, 0.76, 0.86]),
            torch.tensor([1.25, 1.45]),
            indexing="ij",
        )  # of an ellipse: center, half width, height / width; the image is -1 to 1
        across, down, half_width = (part.reshape(-1, 1, 1) for part in (across, down, half_width))
        points = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
        x, y = points[None, None, :] - across, points[None, :, None] - down
        half_height = half_width * aspect.reshape(-1, 1, 1)
        radius = ((x / half_width) ** 2 + (y / half_height) ** 2).sqrt()  # 1 on the ellipse
        angle = torch.atan2(y / half_height**2, x / half_width**2)  # of the normal
        slope = ((x / half_width**2) ** 2 + (y / half_height**2) ** 2).sqrt().clamp(
            min=1e-6
        ) / radius
        distance = (radius - 1) / slope * GRID / 2  # from the ellipse, in grid points
        rim = torch.exp(-(distance**2))
        rim = rim / rim.sum((1, 2), keepdim=True)
        # Doubled angles make edges from dark to light and from light to dark equal.
        rims = torch.stack([rim * (2 * angle).cos(), rim * (2 * angle).sin()], 1)
        self.register_buffer("masks", torch.sigmoid(-1.5 * distance).flatten(1), persistent=False)
        self.register_buffer("rims", rims.flatten(1), persistent=False)
        central = -12.5 * (across**2 + down**2).flatten()
        self.register_buffer("central", central, persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:  # (N, C, GRID, GRID) -> (N, 1, GRID, GRID), 0 to 1
        x = F.pad(x.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        right = x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]
        below = x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]
        steep = (right**2 + below**2 + 1e-6).sqrt()
        edges = torch.cat([(right**2 - below**2) / steep, 2 * right * below / steep], 1)
        edges = edges / steep.mean((2, 3), keepdim=True)
        with torch.autocast(x.device.type, enabled=False):
            weights = (10 * (edges.flatten(1) @ self.rims.T) + self.central).softmax(1)
            return (weights @ self.masks).view(-1, 1, GRID, GRID)


class FERC(nn.Module):
    """A mask for the background, and a small network that classifies the masked face."""

    def __init__(self, width: int, mask: bool, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.mask = mask_network(width, channels) if mask else None
        self.ellipses = Ellipses() if mask else None
        self.features = nn.Sequential()
        for number in range(4):
            if number:
                self.features.append(nn.MaxPool2d(2, ceil_mode=True))
            self.features.extend(convolution(width if number else channels, width))
        self.features.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten(), nn.Dropout(dropout)])
        self.vector = nn.Sequential(
            nn.Linear(width * FINAL_SIZE**2, VECTOR, bias=False), nn.BatchNorm1d(VECTOR), nn.ReLU()
        )
        self.head = nn.Linear(VECTOR, classes)
        self.auxiliary: Tensor | float = 0.0

    def train(self, mode: bool = True) -> Self:
        self.auxiliary = 0.0
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        if self.mask is not None and self.ellipses is not None:
            small = F.interpolate(x, (GRID, GRID), mode="bilinear")
            mask = self.mask(small)  # (N, 1, GRID, GRID), as logits
            if self.training:
                target = self.ellipses(small)
                self.auxiliary = F.binary_cross_entropy_with_logits(mask.float(), target)
            x = x * F.interpolate(mask.sigmoid(), x.shape[2:], mode="bilinear")
        return self.head(self.vector(self.features(x)))


def convolution(width_in: int, width: int, dilation: int = 1) -> list[nn.Module]:
    """A 3 x 3 convolution, batch norm and ReLU, which keep the size."""
    layer = nn.Conv2d(width_in, width, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(width), nn.ReLU()]


def mask_network(width: int, channels: int) -> nn.Module:
    """The first network: (N, channels, GRID, GRID) -> (N, 1, GRID, GRID) logits of the mask."""
    layers = nn.Sequential()
    for number in range(4):
        layers.extend(convolution(width if number else channels, width, 2**number))
    last = nn.Conv2d(width, 1, 1)
    nn.init.constant_(last.bias, 2.0)  # type: ignore[arg-type]  # initially hardly anything is masked
    return layers.append(last)


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Both networks in series, or the second alone."""
    model = FERC(*VARIANTS[variant], channels, classes, dropout)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
