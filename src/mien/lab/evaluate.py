"""A run or a model file -> its answers for every face of a split, each face exactly once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import batches, models
from mien.lab.runs import Run


def restore(run: Run, device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run, in evaluation mode; a `UserError` if it is not trained yet."""
    if not run.finished:
        raise UserError(f"{run.folder} is not finished; `mien train` on the same --out goes on.")
    recipe = run.recipe
    model = models.build(recipe.model, channels=recipe.channels, classes=models.CLASSES)
    model.load_state_dict(torch.load(run.weights_file, map_location="cpu", weights_only=True))
    return model.to(device).eval()


@torch.no_grad()
def logits(
    model: nn.Module,
    faces: np.ndarray | Tensor,
    *,
    side: int,
    channels: int = 1,
    views: str = "one",
    batch: int = 512,
) -> np.ndarray:
    """The network's answers: faces (N, H, W) uint8 -> (views, N, classes) float32 logits.

    `views` is "one" (the central window), "flip" (and its mirror image) or "ten" (centre and four
    corners, each with its mirror image); the first axis has 1, 2 or 10 entries.
    """
    device = next(model.parameters()).device
    faces = torch.as_tensor(faces)
    answers = []
    for part in faces.split(batch):
        pixels = batches.standardise(part.to(device))[:, None].expand(-1, channels, -1, -1)
        answers.append([model(view).float().cpu() for view in _views(pixels, side, views)])
    return torch.stack([torch.cat(view) for view in zip(*answers, strict=True)]).numpy()


def _views(pixels: Tensor, side: int, views: str) -> list[Tensor]:
    crops = [batches.window(pixels, side)]
    if views == "ten":
        bottom, right = pixels.shape[2] - side, pixels.shape[3] - side
        crops += [
            pixels[:, :, top : top + side, left : left + side]
            for top in (0, bottom)
            for left in (0, right)
        ]
    if views != "one":
        crops += [crop.flip(-1) for crop in crops]
    return [crop.contiguous(memory_format=torch.channels_last) for crop in crops]
