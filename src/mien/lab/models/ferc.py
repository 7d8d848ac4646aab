"""FERC: one network removes the background, a second classifies the face.

Paper: Mehendale 2020, https://doi.org/10.1007/s42452-020-2234-1. Abdulkadir et al. describe FERC,
a "two-stage CNN", but cite another paper for it: Raj, Wassay & Verma 2022, "A Study on Detection of
Emotions with the Help of Convolutional Neural Network",
https://doi.org/10.1109/ICCMSO58359.2022.00073.

Claims: 84.92 % on 28,000 images of FER2013, as Abdulkadir et al. cite it. Mehendale claims 96 % for
five emotions on 10,000 images of 154 persons.

The source (Mehendale) states:

- Two networks in series, each with four layers of four 3 x 3 filters. The numbers of layers and of
  filters were each varied from 1 to 8.
- The input of the first network is a map of skin tones and a Hough transform for circles, which
  also works on gray images.
- The second network outputs an "expressional vector" of 24 values, which a perceptron classifies.

Strides, pooling, normalization, losses and the target of the first network are unknown to us.

Our choices:

- The target of the mask comes from a Hough transform for ellipses instead of circles. Edges vote
  for 120 ellipses. The target is the mean of the ellipses, weighted by their votes and by how close
  they are to the center. It is needed only in training, where the cross-entropy of the mask with
  the target is the additional loss `auxiliary`.
- The mask is computed on a grid of 24 x 24 by convolutions of dilation 1, 2, 4 and 8 (a receptive
  field of 15 grid points in each direction) and a 1 x 1 convolution. The face is multiplied by the
  mask.
- The second network has batch norm and ReLU after each convolution, and max pooling between
  convolutions. Its last feature map is 6 x 6 for faces of 48 pixels; smaller maps are resized to
  that. The flattened map is followed by `dropout`, a linear layer to the vector, batch norm and
  ReLU.
- `wide` has 32 filters instead of four; `no-mask` and `wide-no-mask` lack the first network.

Accuracy on PublicTest's labels after 10 epochs: `full` 40.9 %, `wide` 55.2 % (results/leaderboard).

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
"""Filters per layer, and whether there is the network that removes the background."""

ABLATIONS = {
    "full": {"no background removal": "no-mask"},
    "wide": {"no background removal": "wide-no-mask"},
}
"""Variant -> description of an ablation -> variant with that ablation."""

VECTOR_SIZE = 24
"""Number of values of the expressional vector."""

GRID = 24
"""Width and height of the mask before it is resized to the face."""

FINAL_SIZE = 6
"""Width and height of the last feature map for faces of 48 pixels."""

CENTER_SD = 0.2
"""Standard deviation of the centers of ellipses in the prior; coordinates are -1 to 1."""

MASK_STEEPNESS = 1.5
"""Change of the logits of an ellipse's mask per grid point of distance from its boundary."""

EDGE_WEIGHT = 10.0
"""Factor of the votes for an ellipse in its logit, to which the log prior is added."""


class Ellipses(nn.Module):
    """A Hough transform for E = 120 ellipses that computes the target of the mask.

    It has no weights.

    Attributes:
        masks: (E, GRID * GRID), the inside of each ellipse, 0 to 1.
        boundaries: (E, 2 * GRID * GRID), the boundary of each ellipse: cosine and sine of twice the
            angle of its normal, each weighted by the closeness of the grid point to the boundary.
        log_prior: (E,), logarithm of the prior weight of each ellipse, which falls with the
            distance of its center from the center of the image.
    """

    masks: Tensor
    boundaries: Tensor
    log_prior: Tensor

    def __init__(self) -> None:
        super().__init__()
        # All combinations; coordinates are -1 to 1, and the aspect is height / width.
        center_x, center_y, half_width, aspect = torch.cartesian_prod(
            torch.tensor([-0.24, -0.12, 0.0, 0.12, 0.24]),
            torch.tensor([-0.16, 0.0, 0.16]),
            torch.tensor([0.56, 0.66, 0.76, 0.86]),
            torch.tensor([1.25, 1.45]),
        ).T[:, :, None, None]  # each (E, 1, 1)
        points = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
        x, y = points[None, None, :] - center_x, points[None, :, None] - center_y
        half_height = half_width * aspect
        radius = ((x / half_width) ** 2 + (y / half_height) ** 2).sqrt()  # 1 on the ellipse
        normal_x, normal_y = x / half_width**2, y / half_height**2
        angle = torch.atan2(normal_y, normal_x)
        # Length of the gradient of the radius.
        slope = torch.hypot(normal_x, normal_y).clamp(min=1e-6) / radius
        distance = (radius - 1) / slope * GRID / 2  # from the boundary, in grid points
        closeness = torch.exp(-(distance**2))
        closeness = closeness / closeness.sum((1, 2), keepdim=True)
        # With doubled angles, edges from dark to light and from light to dark are equal.
        boundaries = torch.stack([closeness * (2 * angle).cos(), closeness * (2 * angle).sin()], 1)
        masks = torch.sigmoid(-MASK_STEEPNESS * distance)
        self.register_buffer("masks", masks.flatten(1), persistent=False)
        self.register_buffer("boundaries", boundaries.flatten(1), persistent=False)
        log_prior = -(center_x**2 + center_y**2).flatten() / (2 * CENTER_SD**2)
        self.register_buffer("log_prior", log_prior, persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:  # (N, C, GRID, GRID) -> (N, 1, GRID, GRID), 0 to 1
        x = F.pad(x.float().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        dx = x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]
        dy = x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]
        magnitude = (dx**2 + dy**2 + 1e-6).sqrt()
        # The magnitude times cosine and sine of twice the angle of the gradient.
        edges = torch.cat([(dx**2 - dy**2) / magnitude, 2 * dx * dy / magnitude], 1)
        edges = edges / magnitude.mean((2, 3), keepdim=True)
        # Votes rounded to bfloat16 would be too coarse for the softmax.
        with torch.autocast(x.device.type, enabled=False):
            votes = edges.flatten(1) @ self.boundaries.T  # (N, E)
            weights = (EDGE_WEIGHT * votes + self.log_prior).softmax(1)
            return (weights @ self.masks).view(-1, 1, GRID, GRID)


class FERC(nn.Module):
    """A network that masks the background, and a small network that classifies the masked face."""

    def __init__(
        self, width: int, has_mask: bool, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.mask = mask_network(width, channels) if has_mask else None
        self.ellipses = Ellipses() if has_mask else None
        self.features = nn.Sequential()
        for number in range(4):
            if number:
                self.features.append(nn.MaxPool2d(2, ceil_mode=True))
            self.features.extend(convolution(width if number else channels, width))
        self.features.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten(), nn.Dropout(dropout)])
        self.vector = nn.Sequential(
            nn.Linear(width * FINAL_SIZE**2, VECTOR_SIZE, bias=False),
            nn.BatchNorm1d(VECTOR_SIZE),
            nn.ReLU(),
        )
        self.head = nn.Linear(VECTOR_SIZE, classes)
        self.auxiliary: Tensor | float = 0.0

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, and reset the additional loss."""
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
    """A 3 x 3 convolution that keeps the size, batch norm and ReLU."""
    layer = nn.Conv2d(width_in, width, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(width), nn.ReLU()]


def mask_network(width: int, channels: int) -> nn.Module:
    """The first network: (N, channels, GRID, GRID) -> (N, 1, GRID, GRID) logits of the mask."""
    layers = nn.Sequential()
    for number in range(4):
        layers.extend(convolution(width if number else channels, width, 2**number))
    last = nn.Conv2d(width, 1, 1)
    nn.init.constant_(last.bias, 2.0)  # type: ignore[arg-type]  # initially the mask is near 1
    return layers.append(last)


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: both networks in series, or the second alone."""
    return FERC(*VARIANTS[variant], channels, classes, dropout)
