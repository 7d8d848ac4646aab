"""What a training minimises: labels, votes, and what teachers say, each weighted by the config."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.heads import HEADS


def losses(
    answers: Tensor,
    batch: Batch,
    config: Config,
    teachers: list[nn.Module],
    stored: dict[str, Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """What to minimise, and [label loss, vote loss, accuracy] for the log: (B, 15) -> scalars.

    Each is a mean over the batch, faces that do not count included as zeros, so that the mean
    over processes is the mean over the whole batch. stored: the teachers' answers, if they were
    asked before.
    """
    labels, votes = answers[:, HEADS["labels"]], answers[:, HEADS["votes"]]
    smooth = (
        batch.labels * (1 - config.label_smoothing) + config.label_smoothing / batch.labels.shape[1]
    )
    each = partial(F.cross_entropy, reduction="none")
    label_loss = (batch.label_weights * each(labels, smooth)).mean()
    vote_loss = (batch.vote_weights * each(votes, batch.votes)).mean()
    loss = config.label_weight * label_loss + config.vote_weight * vote_loss
    if teachers or stored:
        targets = stored or teacher_targets(batch.faces, config, teachers)
        lesson = distillation(labels, votes, targets, config)
        loss = (1 - config.teacher_weight) * loss + config.teacher_weight * lesson
    labelled = batch.label_weights > 0
    correct = (labelled & (labels.argmax(1) == batch.labels.argmax(1))).float().mean()
    return loss, [label_loss.detach(), vote_loss.detach(), correct]


def teacher_targets(faces: Tensor, config: Config, teachers: list[nn.Module]) -> dict[str, Tensor]:
    """Head -> (B, classes): the teachers' mean probabilities for the same crops, or views.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531; same crops as Beyer et al. 2022,
    https://arxiv.org/abs/2106.05237.
    """
    faces = faces.contiguous(memory_format=torch.channels_last)
    half = bfloat16(config, faces.device)
    with torch.no_grad(), torch.autocast(faces.device.type, torch.bfloat16, enabled=half):
        views = [faces, faces.flip(-1)] if config.teacher_tta == "flip" else [faces]
        said = [
            teacher(view).float() / config.teacher_temperature
            for teacher in teachers
            for view in views
        ]
        return {
            name: torch.stack([s[:, part].softmax(1) for s in said]).mean(0)
            for name, part in HEADS.items()
        }


def distillation(
    labels: Tensor, votes: Tensor, targets: dict[str, Tensor], config: Config
) -> Tensor:
    """Cross-entropy of both heads against the teachers' answers, times the temperature's square."""
    temperature = config.teacher_temperature
    of_labels = F.cross_entropy(labels / temperature, targets["labels"])
    of_votes = F.cross_entropy(votes / temperature, targets["votes"])
    lesson = config.label_weight * of_labels + config.vote_weight * of_votes
    return lesson * temperature**2


def bfloat16(config: Config, device: torch.device) -> bool:
    """Whether to multiply in bfloat16; `auto` does where the hardware is fast at it."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_amx_tile_supported())
