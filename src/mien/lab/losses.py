"""What a training minimises: labels, votes, and what teachers say, each weighted by the recipe."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.batches import Batch
from mien.lab.models import HEADS
from mien.lab.recipe import Recipe


def losses(
    answers: Tensor, batch: Batch, recipe: Recipe, teachers: list[nn.Module]
) -> tuple[Tensor, list[Tensor]]:
    """What to minimise, and [label loss, vote loss, accuracy] for the log: (B, 15) -> scalars.

    Each is a mean over the batch, faces that do not count included as zeros, so that the mean
    over processes is the mean over the whole batch.
    """
    labels, votes = answers[:, HEADS["labels"]], answers[:, HEADS["votes"]]
    smooth = batch.labels * (1 - recipe.smoothing) + recipe.smoothing / batch.labels.shape[1]
    each = partial(F.cross_entropy, reduction="none")
    label_loss = (batch.label_weights * each(labels, smooth)).mean()
    vote_loss = (batch.vote_weights * each(votes, batch.votes)).mean()
    loss = recipe.label_weight * label_loss + recipe.vote_weight * vote_loss
    if teachers:
        lesson = distillation(labels, votes, batch, recipe, teachers)
        loss = (1 - recipe.teacher_weight) * loss + recipe.teacher_weight * lesson
    labelled = batch.label_weights > 0
    correct = (labelled & (labels.argmax(1) == batch.labels.argmax(1))).float().mean()
    return loss, [label_loss.detach(), vote_loss.detach(), correct]


def distillation(
    labels: Tensor, votes: Tensor, batch: Batch, recipe: Recipe, teachers: list[nn.Module]
) -> Tensor:
    """Cross-entropy of both heads against the teachers' mean answers to the same crops, or views.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531; same crops as Beyer et al. 2022,
    https://arxiv.org/abs/2106.05237. Each is scaled by the temperature's square.
    """
    temperature = recipe.teacher_temperature
    faces = batch.faces.contiguous(memory_format=torch.channels_last)
    half = recipe.precision == "bfloat16"
    with torch.no_grad(), torch.autocast(faces.device.type, torch.bfloat16, enabled=half):
        views = [faces, faces.flip(-1)] if recipe.teacher_views == "flip" else [faces]
        said = [teacher(view).float() / temperature for teacher in teachers for view in views]
        targets = {
            name: torch.stack([s[:, part].softmax(1) for s in said]).mean(0)
            for name, part in HEADS.items()
        }
    of_labels = F.cross_entropy(labels / temperature, targets["labels"])
    of_votes = F.cross_entropy(votes / temperature, targets["votes"])
    lesson = recipe.label_weight * of_labels + recipe.vote_weight * of_votes
    return lesson * temperature**2
