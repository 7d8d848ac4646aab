"""Six wide convolutions and three dense layers: the second model of the paper.

Paper: Abdulkadir et al. 2025, "Evaluating Facial Emotional Proportion Based on Computer Vision
Technique", https://doi.org/10.18178/joig.13.5.469-475.

The source states: "Sequential" (the name of a Keras container), 50 epochs, and 67.41 % on a
validation set. Batch size, epochs and label codes match several public notebooks that are copies of
each other. The best known one (lxyuan0420, "Facial expression recognition using CNN") has this
network:

- Three blocks of two 3 x 3 convolutions and max pooling, 256, 128 and 64 wide; only the first
  convolution has no padding. Dense layers of 512, 256 and 128.
- Batch norm and ReLU after each convolution and dense layer.

Our choices:

- Dropout, which the paper mentions and the notebook lacks. Its probability is `dropout` after each
  dense layer and half of it after each block.
- The last feature map is 5 x 5 for faces of 42 to 48 pixels; smaller maps are resized to that.
- `plain` has no batch norm. `slim` and `slim-plain` have a quarter of the widths of the
  convolutions, for CPUs.

Accuracy on PublicTest's labels: `full` 65.3 % after 50 epochs (results/full-sequential.json);
`slim` 57.5 % after 50 epochs (results/slim-sequential.json).

At 48 pixels, 1 channel and 7 classes:

| variant      | parameters | multiply-adds |
|--------------|-----------:|--------------:|
| `full`       |     2.13 M |        1501 M |
| `plain`      |     2.13 M |        1501 M |
| `slim`       |     0.44 M |          95 M |
| `slim-plain` |     0.44 M |          95 M |
"""

from __future__ import annotations

from torch import nn

VARIANTS = {
    "full": ((256, 128, 64), True),
    "plain": ((256, 128, 64), False),
    "slim": ((64, 32, 16), True),
    "slim-plain": ((64, 32, 16), False),
}
"""Widths of the three blocks, and whether there is batch norm."""

ABLATIONS = {"full": {"no batch norm": "plain"}, "slim": {"no batch norm": "slim-plain"}}
"""Variant -> description of an ablation -> variant with that ablation."""

DENSE_WIDTHS = (512, 256, 128)

FINAL_SIZE = 5
"""Width and height of the last feature map; that of faces under 42 pixels is resized to it."""


def convolution(width_in: int, width: int, padding: int, norm: bool) -> list[nn.Module]:
    """A 3 x 3 convolution, optional batch norm, and ReLU."""
    layer = nn.Conv2d(width_in, width, 3, padding=padding, bias=not norm)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return [layer, nn.BatchNorm2d(width), nn.ReLU()] if norm else [layer, nn.ReLU()]


def dense(width_in: int, width: int, norm: bool) -> list[nn.Module]:
    """A linear layer, optional batch norm, and ReLU."""
    layer = nn.Linear(width_in, width, bias=not norm)
    return [layer, nn.BatchNorm1d(width), nn.ReLU()] if norm else [layer, nn.ReLU()]


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant: blocks of convolutions, dense layers, logits."""
    widths, norm = VARIANTS[variant]
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers += convolution(channels, width, padding=1 if number > 0 else 0, norm=norm)
        layers += convolution(width, width, padding=1, norm=norm)
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout / 2)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()]
    features = channels * FINAL_SIZE**2
    for width in DENSE_WIDTHS:
        layers += [*dense(features, width, norm), nn.Dropout(dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))
