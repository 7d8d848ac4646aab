"""Networks for the tests of `mien.lab.models`."""

import torch
from torch import nn

from mien.lab import models


def built(
    name: str,
    channels: int = 1,
    dropout: float = 0.0,
    *,
    training: bool = False,
    device: str = "cpu",
) -> nn.Module:
    """Build a network for seven classes with the weights of seed 0.

    On the device "meta" it has shapes but no values, which is fast at any size.
    """
    torch.manual_seed(0)
    with torch.device(device):
        network = models.build(name, channels=channels, classes=7, dropout=dropout)
    return network.train(training)


def uninitialized(name: str, channels: int = 1, dropout: float = 0.0) -> nn.Module:
    """Build a network with arbitrary weights, which is faster than random ones."""
    return built(name, channels, dropout, device="meta").to_empty(device="cpu")


def layers(network: nn.Module, *kinds: type) -> list:
    """The layers of these types, in their order."""
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def dropout_probabilities(network: nn.Module) -> list[float]:
    """The probability of each dropout layer, in their order."""
    return [layer.p for layer in layers(network, nn.Dropout)]
