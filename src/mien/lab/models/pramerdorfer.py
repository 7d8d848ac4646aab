"""Three small architectures of 2016 for 48 x 48 faces: a VGG, an Inception and a ResNet.

Paper: Pramerdorfer & Kampel 2016, "Facial Expression Recognition using Convolutional Neural
Networks: State of the Art", https://arxiv.org/abs/1612.02903; the authors' trained models are at
https://github.com/cpra/fer-cnn-sota.

Claims on PrivateTest, without other data: 72.7 % (VGG), 71.6 % (Inception), 72.4 % (ResNet),
75.2 % (an ensemble).

The source states the depths: 10 layers (VGG), 16 (Inception) and 33 (the ResNet, which it calls
ResNet-34). We know the numbers of parameters, 1.8, 1.5 and 5.3 M, only from citations. The order
and widths of the layers are unknown to us; we chose them to match the depths and the numbers of
parameters.

Our choices:

- `vgg`: four groups, 32, 64, 128 and 256 wide, of two 3 x 3 convolutions and max pooling, then two
  dense layers, the first 256 wide.
- `inception`: a convolution 64 wide, then four groups of one, two, two and two modules of GoogLeNet
  (Szegedy et al. 2015, https://arxiv.org/abs/1409.4842), each two layers deep, with max pooling
  between the groups; global average pooling and a linear layer. The groups are 96, 192, 288 and 416
  wide, which gives 1.5 M parameters.
- `resnet`: ResNet34 with half of its widths (32 to 256) and without the stem, which gives 33
  layers.
- `slim`, a fourth variant for CPUs: `vgg` with three quarters of its widths.
- All have batch norm after each convolution, and dropout with probability `dropout` before the last
  layer. `vgg` and `slim` also have dropout with half of that probability after each max pooling.

Accuracy on PublicTest's labels: `resnet` 68.3 % after 37 epochs (results/gpu-training.json); `slim`
57.3 % after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant     | parameters | multiply-adds |
|-------------|-----------:|--------------:|
| `vgg`       |     1.76 M |         118 M |
| `inception` |     1.53 M |         252 M |
| `resnet`    |     5.32 M |         631 M |
| `slim`      |     0.99 M |          67 M |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.lab.models._basicblock import stages
from mien.lab.models._initialization import init_convolutions

VARIANTS = {
    "vgg": (32, 64, 128, 256),
    "inception": (96, 192, 288, 416),
    "resnet": (32, 64, 128, 256),
    "slim": (24, 48, 96, 192),
}
"""Widths of the four groups of layers."""

STEM_WIDTH = 64
"""Width of the first convolution of `inception`."""

FINAL_SIZE = 3
"""Width and height of the last feature map of `vgg` and `slim` for faces of 48 pixels."""


def convolution(width_in: int, width: int, kernel_size: int) -> nn.Sequential:
    """A convolution that keeps the size, batch norm and ReLU."""
    layer = nn.Conv2d(width_in, width, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())


class Inception(nn.Module):
    """Four parallel paths: 1 x 1, 3 x 3, 5 x 5 and max pooling.

    The widths of the paths are in the same ratios as in the first module of GoogLeNet.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        unit = width // 16
        self.paths = nn.ModuleList(
            [
                convolution(width_in, 4 * unit, 1),
                nn.Sequential(
                    convolution(width_in, 6 * unit, 1), convolution(6 * unit, 8 * unit, 3)
                ),
                nn.Sequential(convolution(width_in, unit, 1), convolution(unit, 2 * unit, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(width_in, 2 * unit, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, C_in, H, W) -> (N, C, H, W)
        return torch.cat([path(x) for path in self.paths], 1)


def vgg(widths: tuple[int, ...], channels: int, classes: int, dropout: float) -> list[nn.Module]:
    """Eight convolutions and two dense layers."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [convolution(channels, width, 3), convolution(width, width, 3)]
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout / 2)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(FINAL_SIZE), nn.Flatten()]
    layers += [nn.Linear(channels * FINAL_SIZE**2, channels), nn.ReLU(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(channels, classes)]


def inception(
    widths: tuple[int, ...], channels: int, classes: int, dropout: float
) -> list[nn.Module]:
    """A convolution, seven modules of two layers each, and a linear layer."""
    layers: list[nn.Module] = [convolution(channels, STEM_WIDTH, 3)]
    channels = STEM_WIDTH
    for number, width in enumerate(widths):
        if number > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(2 if number > 0 else 1):
            layers.append(Inception(channels, width))
            channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(channels, classes)]


def resnet(widths: tuple[int, ...], channels: int, classes: int, dropout: float) -> list[nn.Module]:
    """Sixteen blocks of two convolutions, and a linear layer."""
    layers = [stages(channels, widths, (3, 4, 6, 3)), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return [*layers, nn.Dropout(dropout), nn.Linear(widths[-1], classes)]


def build(variant: str, *, channels: int, classes: int, dropout: float) -> nn.Module:
    """Build a variant."""
    build_layers = {"inception": inception, "resnet": resnet}.get(variant, vgg)
    model = nn.Sequential(*build_layers(VARIANTS[variant], channels, classes, dropout))
    init_convolutions(model)
    return model
