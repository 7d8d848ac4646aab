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

from torch import nn

VARIANTS = {"full": 32, "slim": 16}
"""Width of the first convolution."""

CONVOLUTIONS = ((1, False, False), (2, True, True), (4, True, False), (4, True, True))
"""Per convolution: width relative to the first, whether max pooling follows, and whether dropout
follows."""

FINAL_SIZE = 4
"""Width and height of the last feature map for faces of 48 pixels."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: convolutions, a dense layer, logits."""
    width = VARIANTS[variant]
    dense_width = 32 * width  # 1024 in `full`
    layers = nn.Sequential()
    for factor, has_pooling, has_dropout in CONVOLUTIONS:
        layer = nn.Conv2d(channels, width * factor, 3)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layers.extend([layer, nn.ReLU()])
        if has_pooling:
            layers.append(nn.MaxPool2d(2))
        if has_dropout:
            layers.append(nn.Dropout(dropout / 2))
        channels = width * factor
    layers.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()])
    layers.extend([nn.Linear(channels * FINAL_SIZE**2, dense_width), nn.ReLU()])
    layers.append(nn.Dropout(dropout))
    return layers.append(nn.Linear(dense_width, classes))
