"""Four convolutions and one wide dense layer, the small CNN of many tutorials.

Paper: Kedari et al. 2021, "Face Emotion Detection Using Deep Learning",
https://doi.org/10.1109/ACCESS51619.2021.9563343.

Claims: 60 % on FER2013 with a CNN, as Abdulkadir et al. 2025 cite it.

The source does not publish layers or training. This network is the one that many small projects of
those years use (atulapra, https://github.com/atulapra/Emotion-detection). That project reports a
similar accuracy: 63.2 % after 50 epochs, on PublicTest and PrivateTest together.

The code of atulapra states:

- 3 x 3 convolutions without padding and without batch norm, 32, 64, 128 and 128 wide; max pooling
  after the second, third and fourth; one dense layer of 1024.
- Dropout of 0.5 before the logits, and of 0.25 after the second and fourth convolution.

Our choices:

- Dropout in the same places, with probability `dropout` before the logits and half of it after the
  convolutions.
- The last feature map is 4 x 4 for faces of 48 pixels; smaller maps are resized to that.
- `slim` has half the widths, for CPUs.

Accuracy on PublicTest's labels: `full` 56.4 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant | parameters | multiply-adds |
|---------|-----------:|--------------:|
| `full`  |     2.35 M |          77 M |
| `slim`  |     0.59 M |          19 M |
"""

from __future__ import annotations

import torch
from torch import nn

VARIANTS = {"full": 32, "slim": 16}
"""Width of the first convolution."""

LAYERS = ((1, False), (2, True), (4, True), (4, True))
"""Per convolution: width relative to the first, and whether max pooling follows."""

FINAL_SIZE = 4
"""Width and height of the last feature map for faces of 48 pixels."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: convolutions, a dense layer, logits."""
    width = VARIANTS[variant]
    layers = nn.Sequential()
    for number, (factor, has_pooling) in enumerate(LAYERS):
        layer = nn.Conv2d(channels, width * factor, 3)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layers.extend([layer, nn.ReLU()])
        layers.extend([nn.MaxPool2d(2)] if has_pooling else [])
        layers.extend([nn.Dropout(dropout / 2)] if number in (1, 3) else [])
        channels = width * factor
    layers.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()])
    layers.extend([nn.Linear(channels * FINAL_SIZE**2, 32 * width), nn.ReLU(), nn.Dropout(dropout)])
    model = layers.append(nn.Linear(32 * width, classes))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
