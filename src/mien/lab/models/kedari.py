"""Four convolutions and one wide dense layer, the small CNN of many tutorials.

Kedari et al. 2021, "Face Emotion Detection Using Deep Learning",
https://doi.org/10.1109/ACCESS51619.2021.9563343. Abdulkadir et al. 2025 say of it: a CNN,
60 % on FER2013.

We found no public text that says more, neither of the layers nor of the training. In its
place stands the network that small projects of those years share (atulapra,
"Emotion-detection", https://github.com/atulapra/Emotion-detection), which comes near that
number: 63.2 % after 50 epochs, on both tests together.

- 3 x 3 convolutions without padding and without norm, 32, 64, 128 and 128 wide; max
  pooling after the second, the third and the fourth; one dense layer of 1024.
- `dropout` before the logits, half of it after the second and after the fourth
  convolution (there 0.5 and 0.25).
- The flattened 4 x 4 of 48 pixels fix the size of the dense layer. Smaller windows leave
  less, which is stretched to 4 x 4 by adaptive pooling.
- `slim` has half the widths, to be trained on a CPU.

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
"""Of each convolution: how many times as wide as the first, and whether a pooling follows."""

REST = 4
"""Side of what the convolutions leave of 48 pixels."""


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """The whole stack in a row: convolutions, the dense layer, logits."""
    width = VARIANTS[variant]
    layers = nn.Sequential()
    for number, (times, pooled) in enumerate(LAYERS):
        layer = nn.Conv2d(channels, width * times, 3)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layers.extend([layer, nn.ReLU()])
        layers.extend([nn.MaxPool2d(2)] if pooled else [])
        layers.extend([nn.Dropout(dropout / 2)] if number % 2 else [])
        channels = width * times
    layers.extend([nn.AdaptiveAvgPool2d(REST), nn.Flatten()])
    layers.extend([nn.Linear(channels * REST**2, 32 * width), nn.ReLU(), nn.Dropout(dropout)])
    model = layers.append(nn.Linear(32 * width, classes))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
