"""Initial weights that several networks share."""

from __future__ import annotations

from torch import nn


def init_convolutions(model: nn.Module) -> None:
    """Initialize the weights of every convolution for ReLU (fan-out).

    He et al. 2015, https://arxiv.org/abs/1502.01852.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
