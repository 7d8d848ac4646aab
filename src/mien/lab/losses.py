"""Training losses on labels, on votes and for distillation, weighted by the config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.heads import HEADS

LogitsFunction = Callable[[Tensor], Tensor]
"""A function from (B, C, H, W) standardized faces to their (B, 15) logits, without gradients."""


def compute_losses(
    logits: Tensor,
    batch: Batch,
    config: Config,
    teachers: Sequence[LogitsFunction],
    stored_targets: dict[str, Tensor] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Compute the total loss of a batch, and its parts for the log.

    Losses and accuracy are divided by the number of faces, including faces of weight 0. The mean
    over processes is therefore the loss of their joint batch.

    Args:
        logits: (B, 15) logits of the student.
        batch: The faces with their targets and loss weights.
        config: Config of the training, with the weights of the losses.
        teachers: Teachers to distill; they are called with `batch.faces`.
        stored_targets: Head -> (B, classes) mean probabilities of the teachers, which are then not
            called; None or empty to call them.

    Returns:
        The loss to minimize, and [label loss, vote loss, label accuracy], all scalars. Faces
        without a label count as wrong in the accuracy.
    """
    label_logits, vote_logits = logits[:, HEADS["labels"]], logits[:, HEADS["votes"]]
    smoothing = config.label_smoothing
    smoothed = batch.labels * (1 - smoothing) + smoothing / batch.labels.shape[1]
    cross_entropy = partial(F.cross_entropy, reduction="none")
    label_loss = (batch.label_weights * cross_entropy(label_logits, smoothed)).mean()
    vote_loss = (batch.vote_weights * cross_entropy(vote_logits, batch.votes)).mean()
    loss = config.label_weight * label_loss + config.vote_weight * vote_loss
    if teachers or stored_targets:
        targets = stored_targets or teacher_targets(batch.faces, config, teachers)
        distillation = distillation_loss(label_logits, vote_logits, targets, config)
        loss = (1 - config.teacher_weight) * loss + config.teacher_weight * distillation
    has_label = batch.label_weights > 0
    accuracy = (has_label & (label_logits.argmax(1) == batch.labels.argmax(1))).float().mean()
    return loss, [label_loss.detach(), vote_loss.detach(), accuracy]


def teacher_targets(
    faces: Tensor, config: Config, teachers: Sequence[LogitsFunction]
) -> dict[str, Tensor]:
    """Compute the teachers' mean probabilities for augmented faces: head -> (B, classes).

    Distillation: Hinton et al. 2015, https://arxiv.org/abs/1503.02531. Teachers receive the same
    augmented faces as the student, as in Beyer et al. 2022, https://arxiv.org/abs/2106.05237.
    """
    inputs = [faces, faces.flip(-1)] if config.teacher_tta == "flip" else [faces]
    scaled_logits = [
        teacher(crops) / config.teacher_temperature for teacher in teachers for crops in inputs
    ]
    return {
        head: torch.stack([scaled[:, columns].softmax(1) for scaled in scaled_logits]).mean(0)
        for head, columns in HEADS.items()
    }


def distillation_loss(
    label_logits: Tensor, vote_logits: Tensor, targets: dict[str, Tensor], config: Config
) -> Tensor:
    """Compute the cross-entropy of both heads with the teachers' probabilities.

    The heads are weighted by `label_weight` and `vote_weight`. The factor temperature ** 2 keeps
    the size of the gradients independent of the temperature (Hinton et al. 2015).

    Args:
        label_logits: (B, 7) logits of the student.
        vote_logits: (B, 8) logits of the student.
        targets: Head -> (B, classes) mean probabilities of the teachers at the temperature, as
            returned by `teacher_targets`.
        config: Config of the training, with the temperature and the weights.
    """
    temperature = config.teacher_temperature
    label_loss = F.cross_entropy(label_logits / temperature, targets["labels"])
    vote_loss = F.cross_entropy(vote_logits / temperature, targets["votes"])
    weighted = config.label_weight * label_loss + config.vote_weight * vote_loss
    return weighted * temperature**2


def use_bfloat16(config: Config, device: torch.device) -> bool:
    """Whether to compute in bfloat16; for "auto", True on CUDA GPUs and on CPUs with AMX."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu._is_amx_tile_supported())
