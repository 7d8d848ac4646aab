"""CLCM, the "Custom Lightweight CNN-based Model": MobileNetV2 for small faces.

Gursesli et al. 2024, "Facial Emotion Recognition (FER) Through Custom Lightweight CNN
Model: Performance Evaluation in Public Datasets",
https://doi.org/10.1109/ACCESS.2024.3380847. They report 63 % on FER2013 (58 % for
MobileNetV2, 65 % for ShuffleNetV2) and 84 % on RAF-DB. The base is that of Sandler et al.
2018, https://arxiv.org/abs/1801.04381.

The paper's text was not at hand. Its abstract says: based on MobileNetV2, with 2.3 M
parameters where MobileNetV2 has 3.5 M. What is custom, how large the input, and how it
was trained, it does not say. All else is ours:

- MobileNetV2 has its 3.5 M with the 1000 classes of ImageNet. With seven instead it has,
  counted as Keras does (with running means and variances), 2 266 951: the 2.3 M.
  Therefore no stage is left out here, and the head is the mean over the picture,
  `dropout`, one linear layer.
- Made for 224 pixels, it shrinks 32-fold and would leave 2 x 2 of 48. Here the stem does
  not shrink: 3 x 3 are left, and the first stages see the face in full detail.
- In `shrunk` the stem does, and instead the last stage that would does not, as in
  `hybrid`.
- The last norm of each block with a shortcut starts at zero, as in `resnet`; the network
  learns sooner so.
- `slim` is `shrunk` with half of all widths, to be trained on a CPU.

At 48 pixels, 1 channel and 7 classes:

| variant  | parameters | multiply-adds |
|----------|-----------:|--------------:|
| `full`   |     2.23 M |          54 M |
| `shrunk` |     2.23 M |          24 M |
| `slim`   |     0.59 M |           7 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VARIANTS = {
    "full": (1.0, (1, 1, 2, 2, 2, 1, 2, 1)),
    "shrunk": (1.0, (2, 1, 2, 2, 2, 1, 1, 1)),
    "slim": (0.5, (2, 1, 2, 2, 2, 1, 1, 1)),
}
"""Share of MobileNetV2's widths, and the strides of the stem and of the seven stages."""

STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
"""Of each stage: how many times wider its blocks are inside, their width and their number."""

STEM, LAST = 32, 1280


def convolution(
    width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution, its norm and ReLU, cut off at 6."""
    padding = kernel // 2
    layer = nn.Conv2d(width_in, width, kernel, stride, padding, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(width), nn.ReLU6()]


class Inverted(nn.Module):
    """Wider by a 1 x 1, around by a 3 x 3 per channel, narrower by a 1 x 1, beside a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int, times: int) -> None:
        super().__init__()
        inside = width_in * times
        self.body = nn.Sequential(
            *(convolution(width_in, inside, 1) if times > 1 else []),
            *convolution(inside, inside, 3, stride, groups=inside),
            nn.Conv2d(inside, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = stride == 1 and width_in == width
        if self.shortcut:
            nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C, H / stride, W / stride)
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileNet(nn.Module):
    """Stem, seven stages, mean over the picture, one linear layer."""

    def __init__(
        self, share: float, strides: tuple[int, ...], channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        width = rounded(STEM * share)
        self.features = nn.Sequential(*convolution(channels, width, 3, strides[0]))
        for (times, full, depth), stride in zip(STAGES, strides[1:], strict=True):
            for k in range(depth):
                width_in, width = width, rounded(full * share)
                self.features.append(Inverted(width_in, width, 1 if k else stride, times))
        last = rounded(LAST * share)
        self.features.extend(convolution(width, last, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(self.dropout(self.features(x).mean((2, 3))))


def rounded(width: float) -> int:
    """The nearest multiple of eight, at least eight: narrower ones are no faster."""
    return max(8, int(width + 4) // 8 * 8)


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """A MobileNetV2 of those widths and strides."""
    model = MobileNet(*VARIANTS[variant], channels, classes, dropout)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            # Not by fan_out: of a depthwise kernel torch counts all channels, not the one it feeds.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
