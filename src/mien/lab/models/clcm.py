"""CLCM, the "Custom Lightweight CNN-based Model": MobileNetV2 for 48 x 48 faces.

Paper: Gursesli et al. 2024, "Facial Emotion Recognition (FER) Through Custom Lightweight CNN Model:
Performance Evaluation in Public Datasets", https://doi.org/10.1109/ACCESS.2024.3380847; MobileNetV2
is by Sandler et al. 2018, https://arxiv.org/abs/1801.04381.

Claims: 63 % on FER2013 (MobileNetV2 58 %, ShuffleNetV2 65 %), 84 % on RAF-DB.

The source states (we had only the abstract): a network based on MobileNetV2, with 2.3 M parameters
instead of 3.5 M. How it was customized, the input size and the training are unknown to us.

Our choices:

- All stages of MobileNetV2, followed by global average pooling, `dropout` and one linear layer.
  MobileNetV2 has 3.5 M parameters with the 1000 classes of ImageNet and 2,266,951 with seven, which
  explains the 2.3 M (in Keras's count, which includes running means and variances).
- The stem has stride 1, so that the last feature map is 3 x 3 for a face of 48 pixels; with
  MobileNetV2's stride 2 it would be 2 x 2. `shrunk` keeps the stem's stride 2 and instead has
  stride 1 in the last strided stage, like `hybrid`.
- The last batch norm of each block with a shortcut is initialized to zero, as in `resnet`.
- `slim` is `shrunk` with half of all widths, for CPUs.

Accuracy on PublicTest's labels: `slim` 40.8 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant  | parameters | multiply-adds |
|----------|-----------:|--------------:|
| `full`   |     2.23 M |          54 M |
| `shrunk` |     2.23 M |          24 M |
| `slim`   |     0.59 M |           7 M |
"""

from __future__ import annotations

from torch import Tensor, nn

VARIANTS = {
    "full": (1.0, (1, 1, 2, 2, 2, 1, 2, 1)),
    "shrunk": (1.0, (2, 1, 2, 2, 2, 1, 1, 1)),
    "slim": (0.5, (2, 1, 2, 2, 2, 1, 1, 1)),
}
"""Factor of MobileNetV2's widths, and strides of the stem and the seven stages."""

STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Per stage: expansion factor, width and number of blocks."""

STEM_WIDTH, LAST_WIDTH = 32, 1280
"""Widths of the first and the last convolution."""


def convolution(
    width_in: int, width: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution, batch norm and ReLU6."""
    padding = kernel_size // 2
    layer = nn.Conv2d(width_in, width, kernel_size, stride, padding, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(width), nn.ReLU6()]


class InvertedResidual(nn.Module):
    """1 x 1 expansion, 3 x 3 depthwise convolution, 1 x 1 projection, and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width_in * expansion
        self.body = nn.Sequential(
            *(convolution(width_in, hidden, 1) if expansion > 1 else []),
            *convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = stride == 1 and width_in == width
        if self.shortcut:
            nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]

    # (N, C_in, H, W) -> (N, C, H / stride, W / stride), rounded up
    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileNet(nn.Module):
    """Stem, seven stages, global average pooling, one linear layer."""

    def __init__(
        self, width_factor: float, strides: tuple[int, ...], channels: int, classes: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        width = round_width(STEM_WIDTH * width_factor)
        self.features = nn.Sequential(*convolution(channels, width, 3, strides[0]))
        for (expansion, full_width, depth), stride in zip(STAGES, strides[1:], strict=True):
            for k in range(depth):
                width_in, width = width, round_width(full_width * width_factor)
                block = InvertedResidual(width_in, width, 1 if k else stride, expansion)
                self.features.append(block)
        last_width = round_width(LAST_WIDTH * width_factor)
        self.features.extend(convolution(width, last_width, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(last_width, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(self.dropout(self.features(x).mean((2, 3))))


def round_width(width: float) -> int:
    """Round to the nearest multiple of eight, at least eight, like the widths of MobileNetV2."""
    return max(8, int(width + 4) // 8 * 8)


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    model = MobileNet(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            # Not fan_out, for which torch ignores the groups of depthwise convolutions.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model
