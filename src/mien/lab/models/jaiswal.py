"""Two CNNs side by side on the same face, their features joined in one row.

Jaiswal, Raju & Deb 2020, "Facial Emotion Detection Using Deep Learning",
https://doi.org/10.1109/INCET49848.2020.9154121. They claim 70.14 % on FER2013 and 98.65 %
on JAFFE.

The paper's text was not at hand. Others quote of it a CNN, those two datasets and those
two numbers. That this CNN is two parallel ones, which see the same 48 x 48 face and are
joined before the softmax, we know by hearsay. Depth, widths, kernels and training we do
not know, nor which faces were the test. All else is ours:

- A branch has three stages of [convolution, norm, ReLU] twice and a max pooling, 32, 64
  and 128 wide. Of 48 pixels 6 x 6 are left; those of both branches, flattened, go through
  one dense layer of 256 with norm and ReLU, with `dropout` before and after it. Smaller
  windows leave less, which is stretched to 6 x 6 by adaptive pooling.
- `full` looks through 3 x 3 kernels in one branch and through 5 x 5 in the other. In
  `same` both are 3 x 3 and differ in nothing but their starting weights. `single` is one
  branch of 3 x 3 alone.
- `slim` and its kin have three eighths of the convolutions' widths, to be trained on a
  CPU.

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
"""Side of the kernels of each branch, and width of the first stage (each next is twice as wide)."""

ABLATIONS = {
    "full": {"no 5 x 5 kernels": "same", "no second branch": "single"},
    "slim": {"no 5 x 5 kernels": "slim-same", "no second branch": "slim-single"},
}
"""What an ablation leaves out, and the variant that does without it."""

STAGES = 3

REST = 6
"""Side of what three stages leave of 48 pixels."""

DENSE = 256


class Parallel(nn.Module):
    """Branches that see the same face, and a head that sees all their features in a row."""

    def __init__(self, branches: list[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(torch.cat([branch(x) for branch in self.branches], 1))


def branch(kernel: int, width: int, channels: int) -> nn.Module:
    """A CNN of three stages: (N, channels, side, side) -> (N, features)."""
    layers = nn.Sequential()
    for stage in range(STAGES):
        for _ in range(2):
            layer = nn.Conv2d(channels, width * 2**stage, kernel, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            channels = layer.out_channels
            layers.extend([layer, nn.BatchNorm2d(channels), nn.ReLU()])
        layers.append(nn.MaxPool2d(2))
    return layers.extend([nn.AdaptiveAvgPool2d(REST), nn.Flatten()])


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """The branches of that variant under one dense layer."""
    kernels, width = VARIANTS[variant]
    features = len(kernels) * width * 2 ** (STAGES - 1) * REST**2
    head = nn.Sequential(
        nn.Dropout(dropout), nn.Linear(features, DENSE, bias=False), nn.BatchNorm1d(DENSE),
        nn.ReLU(), nn.Dropout(dropout), nn.Linear(DENSE, classes),
    )  # fmt: skip
    model = Parallel([branch(kernel, width, channels) for kernel in kernels], head)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
