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
"""Largest accepted change by folding the batch norms, in a softmax over the logits of all heads."""


class Teacher:
    """A trained network that computes logits of augmented faces.

    Its batch norms are folded into its convolutions. With bfloat16, its weights are converted once
    instead of in every step.

    Args:
        network: A trained network in evaluation mode. It is moved to `device`, otherwise unchanged.
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

    The pairs of convolution and batch norm are recorded while the network runs on an example.
    Unlike with `torch.fx`, its code may therefore have branches and loops.

    Args:
        network: A network in evaluation mode, which is not changed.
        example: Input of the network, (B, C, H, W).

    Returns:
        A copy with folded batch norms. If the softmax over all its outputs for the example differs
        by more than `TOLERANCE`, for example because another layer also uses the output of a
        convolution, an unchanged copy.
    """
    folded = copy.deepcopy(network)
    replacements: dict[nn.Module, nn.Module] = {}
    for convolution, norm in _convolutions_with_norms(folded, example):
        replacements[convolution] = fuse_conv_bn_eval(convolution, norm)
        replacements[norm] = getattr(norm, "act", nn.Identity())  # timm's BatchNormAct2d
    for parent in list(folded.modules()):
        for name, child in parent._modules.items():  # unlike named_children, includes repeated ones
            parent._modules[name] = replacements.get(child, child)  # type: ignore[arg-type]
    difference = network(example).softmax(1) - folded(example).softmax(1)
    return folded if bool(difference.abs().max() <= TOLERANCE) else copy.deepcopy(network)


def _convolutions_with_norms(
    network: nn.Module, example: Tensor
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """List pairs of a convolution and the batch norm of its output, both called exactly once."""
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # keeps the tensors, so ids stay unique
    pairs, call_counts = [], dict.fromkeys(network.modules(), 0)

    def after_convolution(module: nn.Module, _: Any, output: Tensor) -> None:
        call_counts[module] += 1
        outputs[id(output)] = module, output

    def before_norm(module: nn.Module, inputs: tuple[Tensor]) -> None:
        call_counts[module] += 1
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
    return [
        (convolution, norm)  # type: ignore[misc]
        for convolution, norm in pairs
        if call_counts[convolution] == call_counts[norm] == 1
    ]
