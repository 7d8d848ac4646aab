"""The residual block of ResNet18 and ResNet34, shared by several networks.

He et al. 2016, https://arxiv.org/abs/1512.03385. The default model has another block, in `resnet`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution if the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=bias)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=bias)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or width_in != width:
            self.shortcut.append(nn.Conv2d(width_in, width, 1, stride, bias=bias))
            self.shortcut.append(nn.BatchNorm2d(width))

    # (N, C_in, H, W) -> (N, C, H / stride, W / stride), rounded up
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(_convolve(self.conv1, x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def stages(width_in: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> nn.Sequential:
    """Stages of residual blocks, one module each; all but the first halve the resolution.

    Args:
        width_in: Number of input channels.
        widths: Number of channels of each stage.
        depths: Number of blocks of each stage.
    """
    layers = nn.Sequential()
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        stage = nn.Sequential()
        for k in range(depth):
            stride = 2 if number > 0 and k == 0 else 1
            stage.append(BasicBlock(width_in, width, stride))
            width_in = width
        layers.append(stage)
    return layers


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution; ignore its stride on a 1 x 1 map, where the stride has no effect.

    With a stride of 2, oneDNN 3.13 does not initialize the bfloat16 gradients of the weights that
    multiply only padding. The shortcut has no padding and does not need this.
    """
    if x.shape[-2:] == (1, 1):
        return F.conv2d(x, layer.weight, layer.bias, 1, layer.padding)
    return layer(x)
