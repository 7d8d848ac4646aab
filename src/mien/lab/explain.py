"""Saliency maps of a network: its spatial attention, and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab import batches
from mien.lab.models._cbam import SpatialAttention


def spatial_attention(
    model: nn.Module, faces: np.ndarray, *, input_size: int, channels: int = 1
) -> list[np.ndarray]:
    """Compute the attention maps of all spatial attention layers of a network.

    Args:
        model: The network.
        faces: (N, H, W) uint8.
        input_size: Width and height of the central crop that the network receives, in pixels.
        channels: Number of input channels, 1 or 3.

    Returns:
        (N, h, w) arrays with values from 0 to 1, one per layer in the order of the forward pass.
        The list is empty if the network has no spatial attention.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SpatialAttention)]
    maps: list[np.ndarray] = []
    with (
        torch.no_grad(),
        _on_output(layers, lambda output: maps.append(output[:, 0].cpu().numpy())),
    ):
        model.eval()(_to_inputs(model, faces, input_size, channels))
    return maps


def grad_cam(
    model: nn.Module, faces: np.ndarray, classes: np.ndarray, *, input_size: int, channels: int = 1
) -> np.ndarray:
    """Compute Grad-CAM: how much each position of a face raises the logit of a class.

    It is computed from the last feature map with more than one position. For a network with
    parallel `branches`, the results of all branches are resized to the largest and summed.
    Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.

    Args:
        model: The network.
        faces: (N, H, W) uint8.
        classes: (N,) int, the index of the logit to explain for each face.
        input_size: Width and height of the central crop that the network receives, in pixels.
        channels: Number of input channels, 1 or 3.

    Returns:
        (N, h, w) float32, non-negative, in the resolution of the feature map.
    """
    branches = list(getattr(model, "branches", nn.ModuleList([model])).children())
    outputs: list[list[Tensor]] = [[] for _ in branches]
    with torch.enable_grad(), ExitStack() as stack:
        for branch, branch_outputs in zip(branches, outputs, strict=True):
            layers = list(branch.modules())
            stack.enter_context(_on_output(layers, branch_outputs.append))
        logits = model.eval()(_to_inputs(model, faces, input_size, channels).requires_grad_())
        score = logits[torch.arange(len(faces)), torch.as_tensor(classes)].sum()
        features = [
            next(output for output in reversed(branch_outputs) if _is_feature_map(output))
            for branch_outputs in outputs
        ]
        gradients = torch.autograd.grad(score, features)
    maps = [
        (gradient.mean((2, 3), keepdim=True) * feature.detach()).sum(1, keepdim=True).relu()
        for gradient, feature in zip(gradients, features, strict=True)
    ]
    size = max(tuple(branch_map.shape[-2:]) for branch_map in maps)
    resized = [
        F.interpolate(branch_map, size, mode="bilinear", align_corners=False) for branch_map in maps
    ]
    return torch.stack(resized).sum(0)[:, 0].cpu().numpy()


def _is_feature_map(output: Tensor) -> bool:
    # Spatial attention has one channel; channel attention and pooled features have one position.
    return output.ndim == 4 and output.shape[1] > 1 and output.shape[-1] > 1


@contextmanager
def _on_output(layers: Sequence[nn.Module], callback: Callable[[Tensor], object]) -> Iterator[None]:
    """Within the context, call `callback` with each output of the layers."""

    def hook(_layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
        callback(output)

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _to_inputs(model: nn.Module, faces: np.ndarray, input_size: int, channels: int) -> Tensor:
    device = next(model.parameters()).device
    pixels = batches.standardize(torch.as_tensor(faces).to(device))[:, None]
    crops = batches.center_crop(pixels.expand(-1, channels, -1, -1), input_size)
    return crops.contiguous(memory_format=torch.channels_last)
