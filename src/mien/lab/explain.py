"""Saliency maps of a network: its own spatial attention, and Grad-CAM."""

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
    """The attention maps of each spatial attention layer of a network.

    Args:
        model: the network.
        faces: (N, H, W) uint8.
        input_size: side of the window that the network gets, in pixels.
        channels: 1 or 3.

    Returns:
        (N, h, w) for each layer, first layer first; an empty list for a network without attention.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SpatialAttention)]
    maps: list[np.ndarray] = []
    with torch.no_grad(), _on_output(layers, lambda out: maps.append(out[:, 0].cpu().numpy())):
        model.eval()(_crops(model, faces, input_size, channels))
    return maps


def grad_cam(
    model: nn.Module, faces: np.ndarray, classes: np.ndarray, *, input_size: int, channels: int = 1
) -> np.ndarray:
    """How much each place of a face supports a class (Grad-CAM).

    Taken at the last feature map with more than one position; for a network with `branches`, the
    maps of all branches are summed. Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.

    Args:
        model: the network.
        faces: (N, H, W) uint8.
        classes: (N,) indices into the network's logits.
        input_size: side of the window that the network gets, in pixels.
        channels: 1 or 3.

    Returns:
        (N, h, w) float32, 0 or more.
    """
    branches = list(getattr(model, "branches", nn.ModuleList([model])).children())
    outputs: list[list[Tensor]] = [[] for _ in branches]
    with torch.enable_grad(), ExitStack() as stack:
        for branch, of_branch in zip(branches, outputs, strict=True):
            stack.enter_context(_on_output(list(branch.modules()), of_branch.append))
        logits = model.eval()(_crops(model, faces, input_size, channels).requires_grad_())
        score = logits[torch.arange(len(faces)), torch.as_tensor(classes)].sum()
        features = [
            next(out for out in reversed(of_branch) if _is_feature_map(out))
            for of_branch in outputs
        ]
        gradients = torch.autograd.grad(score, features)
    maps = [
        (gradient.mean((2, 3), keepdim=True) * feature.detach()).sum(1, keepdim=True).relu()
        for gradient, feature in zip(gradients, features, strict=True)
    ]
    size = max(tuple(one.shape[-2:]) for one in maps)
    resized = [F.interpolate(one, size, mode="bilinear", align_corners=False) for one in maps]
    return torch.stack(resized).sum(0)[:, 0].cpu().numpy()


def _is_feature_map(out: Tensor) -> bool:
    # A single channel is an attention map, a single position a prediction.
    return out.ndim == 4 and out.shape[1] > 1 and out.shape[-1] > 1


@contextmanager
def _on_output(layers: Sequence[nn.Module], callback: Callable[[Tensor], object]) -> Iterator[None]:
    """Within the block, call `callback` with each output of these layers."""

    def hook(_layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
        callback(output)

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _crops(model: nn.Module, faces: np.ndarray, input_size: int, channels: int) -> Tensor:
    device = next(model.parameters()).device
    pixels = batches.standardize(torch.as_tensor(faces).to(device))[:, None]
    crops = batches.center_crop(pixels.expand(-1, channels, -1, -1), input_size)
    return crops.contiguous(memory_format=torch.channels_last)
