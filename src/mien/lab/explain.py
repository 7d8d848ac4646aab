"""Where in a face a network looks: its own attention, and what speaks for an answer (Grad-CAM)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab import batches
from mien.lab.models._cbam import SpatialAttention


def attention(
    model: nn.Module, faces: np.ndarray, *, side: int, channels: int = 1
) -> list[np.ndarray]:
    """How each spatial attention of a network weighs each place: (N, h, w) each, first one first.

    faces: (N, H, W) uint8. A network without attention gives an empty list.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, SpatialAttention)]
    found: list[np.ndarray] = []
    with torch.no_grad(), _watched(layers, lambda out: found.append(out[:, 0].cpu().numpy())):
        model.eval()(_crops(model, faces, side, channels))
    return found


def grad_cam(
    model: nn.Module, faces: np.ndarray, answers: np.ndarray, *, side: int, channels: int = 1
) -> np.ndarray:
    """How much each place of a face speaks for an answer: (N, h, w) float32, nothing below zero.

    faces: (N, H, W) uint8. answers: (N,) places among the network's logits. Taken at the last
    features that still tell places apart; where a network has `branches`, the maps of all are
    summed. Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.
    """
    branches = list(getattr(model, "branches", nn.ModuleList([model])).children())
    seen: list[list[Tensor]] = [[] for _ in branches]
    with torch.enable_grad(), ExitStack() as stack:
        for branch, outs in zip(branches, seen, strict=True):
            stack.enter_context(_watched(list(branch.modules()), outs.append))
        logits = model.eval()(_crops(model, faces, side, channels).requires_grad_())
        score = logits[torch.arange(len(faces)), torch.as_tensor(answers)].sum()
        last = [next(out for out in reversed(outs) if _is_map(out)) for outs in seen]
        gradients = torch.autograd.grad(score, last)
    found = [
        (gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
        for gradient, maps in zip(gradients, last, strict=True)
    ]
    size = max(tuple(one.shape[-2:]) for one in found)
    same = [F.interpolate(one, size, mode="bilinear", align_corners=False) for one in found]
    return torch.stack(same).sum(0)[:, 0].cpu().numpy()


def _is_map(out: Tensor) -> bool:
    # One channel is an attention, one place an answer: neither is a map of features.
    return out.ndim == 4 and out.shape[1] > 1 and out.shape[-1] > 1


@contextmanager
def _watched(layers: Sequence[nn.Module], see: Callable[[Tensor], object]) -> Iterator[None]:
    """While the block runs, `see` is shown what these layers give."""

    def hook(_layer: nn.Module, _given: tuple, out: Tensor) -> None:
        see(out)

    hooks = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def _crops(model: nn.Module, faces: np.ndarray, side: int, channels: int) -> Tensor:
    device = next(model.parameters()).device
    pixels = batches.standardise(torch.as_tensor(faces).to(device))[:, None]
    crops = batches.window(pixels.expand(-1, channels, -1, -1), side)
    return crops.contiguous(memory_format=torch.channels_last)
