"""Two CNNs in parallel on the same face, with concatenated features.

Paper: Jaiswal, Raju & Deb 2020, "Facial Emotion Detection Using Deep Learning",
https://doi.org/10.1109/INCET49848.2020.9154121.

Claims: 70.14 % on FER2013, 98.65 % on JAFFE.

The source states (we had only citations of it): two parallel CNNs on the same 48 x 48 face, which
are joined before the softmax. Depth, widths, kernels, training and evaluation set are unknown to
us.

Our choices:

- A branch has three stages, 32, 64 and 128 wide, of two [convolution, batch norm, ReLU] and max
  pooling. The last feature maps of both branches are 6 x 6; smaller maps are resized to that. They
  are flattened and followed by a dense layer of 256 with batch norm and ReLU, with `dropout` before
  and after the dense layer.
- `full` has 3 x 3 kernels in one branch and 5 x 5 kernels in the other. `same` has 3 x 3 kernels in
  both, which then differ only in their initial weights. `single` has one branch, with 3 x 3
  kernels.
- `slim` and `slim-...` have three eighths of the widths of the convolutions, for CPUs.

Accuracy on PublicTest's labels: `slim` 59.0 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant       | parameters | multiply-adds |
|---------------|-----------:|--------------:|
| `full`        |     3.44 M |         326 M |
| `same`        |     2.94 M |         174 M |
| `single`      |     1.47 M |          87 M |
| `slim`        |     1.04 M |          47 M |
| `slim-same`   |     0.97 M |          25 M |
| `slim-single` |     0.49 M |          13 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VARIANTS = {
    "full": ((3, 5), 32),
    "same": ((3, 3), 32),
    "single": ((3,), 32),
    "slim": ((3, 5), 12),
    "slim-same": ((3, 3), 12),
    "slim-single": ((3,), 12),
}
"""Kernel sizes of the branches, and width of the first stage (doubled in each later stage)."""

ABLATIONS = {
    "full": {"no 5 x 5 kernels": "same", "no second branch": "single"},
    "slim": {"no 5 x 5 kernels": "slim-same", "no second branch": "slim-single"},
}
"""Variant -> description of an ablation -> variant with that ablation."""

STAGES = 3
"""Number of stages of a branch."""

FINAL_SIZE = 6
"""Width and height of the last feature map for faces of 48 pixels."""

DENSE_WIDTH = 256
"""Width of the dense layer."""


class Parallel(nn.Module):
    """Branches with the same input, and a head on their concatenated features."""

    def __init__(self, branches: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(torch.cat([branch(x) for branch in self.branches], 1))


def branch(kernel_size: int, width: int, channels: int) -> nn.Module:
    """A CNN: (N, channels, side, side) -> (N, features)."""
    layers = nn.Sequential()
    for _ in range(STAGES):
        for _ in range(2):
            layer = nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            layers.extend([layer, nn.BatchNorm2d(width), nn.ReLU()])
            channels = width
        layers.append(nn.MaxPool2d(2))
        width *= 2
    return layers.extend([nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()])


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    kernel_sizes, width = VARIANTS[variant]
    features = len(kernel_sizes) * width * 2 ** (STAGES - 1) * FINAL_SIZE**2
    head = nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(features, DENSE_WIDTH, bias=False),
        nn.BatchNorm1d(DENSE_WIDTH),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(DENSE_WIDTH, classes),
    )
    return Parallel([branch(size, width, channels) for size in kernel_sizes], head)
