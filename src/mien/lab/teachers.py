"""Teachers: trained networks whose outputs are distilled, prepared for fast inference."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mien.lab.config import Config
from mien.lab.losses import use_bfloat16

TOLERANCE = 1e-2
"""Largest difference of the probabilities before and after batch norms are folded."""


class Teacher:
    """A trained network that is called with augmented faces.

    Its batch norms are folded into its convolutions, and with bfloat16 its weights are converted
    once instead of in every step.

    Args:
        network: A trained network in evaluation mode, which is not changed.
        config: Config of the student.
        device: Device of the faces.
    """

    def __init__(self, network: nn.Module, config: Config, device: torch.device) -> None:
        self.dtype = torch.bfloat16 if use_bfloat16(config, device) else torch.float32
        size = config.input_size
        generator = torch.Generator().manual_seed(0)
        example = torch.randn(2, config.channels, size, size, generator=generator).to(device)
        self.network = fold_batch_norm(network.to(device), example).to(self.dtype)

    @torch.no_grad()
    def __call__(self, faces: Tensor) -> Tensor:
        """Compute the logits of (B, C, H, W) standardized faces: (B, 15) float32."""
        inputs = faces.to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self.network(inputs).float()


@torch.no_grad()
def fold_batch_norm(network: nn.Module, example: Tensor) -> nn.Module:
    """Fold each batch norm into the convolution whose output it normalizes.

    The pairs are those that occur when the network is run, so its code may have branches and
    loops, which `torch.fx` cannot trace.

    Args:
        network: A network in evaluation mode, which is not changed.
        example: Input of the network, (B, C, H, W).

    Returns:
        A copy without the folded batch norms. If its output differs from that of the network, for
        example because another layer uses the output of a convolution as well, an unchanged copy.
    """
    folded = copy.deepcopy(network)
    replacements: dict[nn.Module, nn.Module] = {}
    for convolution, norm in _convolutions_with_norms(folded, example):
        replacements[convolution] = fuse_conv_bn_eval(convolution, norm)
        replacements[norm] = getattr(norm, "act", nn.Identity())  # timm: norm and activation
    for parent in list(folded.modules()):
        for name, child in parent._modules.items():  # also modules that occur more than once
            parent._modules[name] = replacements.get(child, child)  # type: ignore[arg-type]
    difference = network(example).softmax(1) - folded(example).softmax(1)
    return folded if bool(difference.abs().max() <= TOLERANCE) else copy.deepcopy(network)


def _convolutions_with_norms(
    network: nn.Module, example: Tensor
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """List the convolutions whose output is the input of a batch norm, both called once."""
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensors are kept, so ids are unique
    pairs, calls = [], dict.fromkeys(network.modules(), 0)

    def after_convolution(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] += 1
        outputs[id(output)] = module, output

    def before_norm(module: nn.Module, inputs: tuple[Tensor]) -> None:
        calls[module] += 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    hooks = [
        module.register_forward_hook(after_convolution)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(before_norm)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    network(example)
    for hook in hooks:
        hook.remove()
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]  # type: ignore[misc]
