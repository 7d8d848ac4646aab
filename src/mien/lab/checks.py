"""Checks of the network of a training, the runs that it starts from, and its targets."""

from __future__ import annotations

import torch
from torch import nn

from mien.errors import UserError
from mien.lab import data, models, runs
from mien.lab.config import Config
from mien.lab.data import Samples
from mien.lab.heads import HEADS, LOGIT_COUNT


def check_network(config: Config) -> None:
    """Check that the network of a training can be built and accepts its first and last input size.

    Raises:
        UserError: The network is unknown, its pretrained weights are not available, or it does not
            accept an input size.
    """
    with torch.random.fork_rng(devices=[]):
        network = models.build(
            config.model, channels=config.channels, classes=LOGIT_COUNT, dropout=config.dropout,
            pretrained=config.pretrained,
        ).eval()  # fmt: skip
    for size in {config.input_size, config.initial_size or config.input_size}:
        _check_accepts(network, config, size, advice="Change input_size or initial_size.")


def check_input_size(config: Config, size: int) -> None:
    """Check that the network of a run accepts another input size than that of its training.

    Args:
        config: Config of the run.
        size: Width and height of the faces in pixels.

    Raises:
        UserError: The network does not accept it.
    """
    with torch.random.fork_rng(devices=[]):
        network = models.build(config.model, channels=config.channels, classes=LOGIT_COUNT).eval()
    _check_accepts(network, config, size, advice="Use another --input-size.")


def _check_accepts(network: nn.Module, config: Config, size: int, advice: str) -> None:
    try:
        with torch.no_grad():
            network(torch.zeros(2, config.channels, size, size))
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"{config.model} does not accept faces of {size} pixels: {reason}. {advice}"
        ) from None


def check_sources(config: Config, description: dict) -> None:
    """Check the runs that a training starts from: its teachers and initial weights.

    They must not have been trained on the evaluation set of this training. Therefore they must have
    the same protocol and fold and, except with the official protocol, the same data. Teachers must
    also have been trained with every head that is distilled.

    Two cases are exempt: teachers whose stored logits are used, and all runs with the protocol
    `leaky-kfold`, which demonstrates this leak.

    Args:
        config: Config of the training.
        description: Description of the data by `data.describe`.

    Raises:
        UserError: A run may have been trained on the evaluation set or is unfinished, or a teacher
            lacks a head.
    """
    if config.protocol == "leaky-kfold":
        return
    # With stored logits, the teachers' run folders may be absent.
    teachers = () if config.teacher_logits else config.teachers
    for path in (*teachers, *([config.init_from] if config.init_from else [])):
        _check_source(path, config, description)
    for path in teachers:
        _check_heads(path, config)


def _check_source(path: str, config: Config, description: dict) -> None:
    run = runs.open_run(path)
    if not run.finished:
        raise UserError(f"{path} is not finished. Run mien train with the same --out to resume it.")
    own, other = _describe_split(config), _describe_split(run.config)
    if own != other:
        raise UserError(
            f"{path} was trained with protocol {other}: its training set may contain evaluation "
            f"faces of protocol {own}. Use a run with the same protocol and fold."
        )
    if config.protocol != "official" and run.about.get("data", description) != description:
        raise UserError(
            f"{path} was trained on other data, which {config.protocol} splits differently: its "
            "training set may contain evaluation faces. Use a run on the same data."
        )


def _check_heads(path: str, config: Config) -> None:
    weights = {"labels": config.label_weight, "votes": config.vote_weight}
    trained = runs.open_run(path).heads
    if missing := [name for name in HEADS if weights[name] > 0 and name not in trained]:
        field = f"{missing[0].removesuffix('s')}_weight"
        raise UserError(f"Teacher {path} was not trained on {missing[0]}. Set {field}=0.")


def _describe_split(config: Config) -> str:
    """The fields that determine the split of a dataset: the protocol, and its fold if it has folds.

    Equal texts mean equal splits of the same data.
    """
    fold = f", fold {config.fold} of {config.folds}" if "kfold" in config.protocol else ""
    return config.protocol + fold


def trainable_heads(config: Config, splits: dict[str, Samples]) -> list[str]:
    """The heads that have a loss weight above 0 and targets.

    Targets are in the data, or are the outputs of teachers.

    Raises:
        UserError: There is no such head; or the config selects an epoch by the loss on `val`, and
            the data has no `val` split, or one without targets for these heads.
    """
    targets = _heads_with_targets(data.split(splits, "train"))
    weights = {"labels": config.label_weight, "votes": config.vote_weight}
    is_distilled = config.teacher_weight > 0
    heads = [name for name in HEADS if weights[name] > 0 and (is_distilled or name in targets)]
    if not heads:
        raise UserError(
            "The data has no targets for the heads with a weight above 0. Set label_weight above 0 "
            "for data with labels, or vote_weight for data with FER+ votes."
        )
    if config.patience or config.select_epoch == "best":
        _check_validation(splits, heads)
    return heads


def _check_validation(splits: dict[str, Samples], heads: list[str]) -> None:
    """Raise a `UserError` if no loss on `val` can be computed by which an epoch is selected."""
    if "val" not in splits:
        problem = "has no val split"
    elif not set(heads) & set(_heads_with_targets(splits["val"])):
        problem = f"has no {' or '.join(heads)} in its val split"
    else:
        return
    raise UserError(
        f"The data {problem}, which patience and select_epoch=best need. "
        "Set patience=0 and select_epoch=last."
    )


def _heads_with_targets(samples: Samples) -> list[str]:
    has_targets = {"labels": bool((samples.labels >= 0).any()), "votes": samples.has_votes}
    return [name for name in HEADS if has_targets[name]]
