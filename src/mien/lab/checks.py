"""What is refused before a training begins, so that nothing is begun that could not go on."""

from __future__ import annotations

import torch

from mien.errors import UserError
from mien.lab import data, models, runs
from mien.lab.config import Config
from mien.lab.data import Samples
from mien.lab.heads import CLASSES, HEADS


def network(config: Config) -> None:
    """Refuse a network that there is not, or which cannot look at what it would be shown."""
    with torch.random.fork_rng(devices=[]):
        built = models.build(
            config.model, channels=config.channels, classes=CLASSES, dropout=config.dropout,
            pretrained=config.pretrained,
        ).eval()  # fmt: skip
    for side in {config.input_size, config.initial_size or config.input_size}:
        try:
            with torch.no_grad():
                built(torch.zeros(2, config.channels, side, side))
        except RuntimeError as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{config.model} cannot look at {side} pixels: {why}.") from None


def sources(config: Config, about: dict) -> None:
    """Refuse teachers and a start that may have been taught the faces which judge this run.

    about: the data, as `data.describe` gives it; where a protocol divides the faces anew, it must
    be the same. Only `leaky-kfold` goes on with a network across its parts; that is its mistake.
    Teachers must know every head that they are to teach.
    """
    if config.protocol == "leaky-kfold":
        return
    # The answers of a store were taken from teachers that need not be here any more.
    asked = () if config.teacher_logits else config.teachers
    for path in (*asked, *([config.init_from] if config.init_from else [])):
        if not runs.open_run(path).finished:
            raise UserError(f"{path} is not finished; `mien train` on the same --out goes on.")
        other = runs.open_run(path).config
        if _division(other) != _division(config):
            raise UserError(
                f"{path} was trained by {other.protocol}, part {other.fold}: it may know the faces "
                f"that judge here, by {config.protocol}, part {config.fold}."
            )
        if config.protocol != "official" and runs.open_run(path).about.get("data", about) != about:
            raise UserError(f"{path} was trained on other data, which {config.protocol} divided "
                            "otherwise: it may know the faces that judge here.")  # fmt: skip
    weights = {"labels": config.label_weight, "votes": config.vote_weight}
    for path in asked:
        known = runs.open_run(path).about.get("heads", list(HEADS))
        if unknown := [name for name in HEADS if weights[name] > 0 and name not in known]:
            field = f"{unknown[0].removesuffix('s')}_weight"
            raise UserError(f"{path} was not taught {unknown[0]} and cannot teach them; set "
                            f"{field}=0.")  # fmt: skip


def _division(config: Config) -> tuple:
    """What says which faces teach and which judge."""
    parts = (config.fold, config.folds) if "kfold" in config.protocol else ()
    return (config.protocol, *parts)


def heads(config: Config, splits: dict[str, Samples]) -> list[str]:
    """The heads that have something to learn from the data; a `UserError` if there is none."""
    train = data.split(splits, "train")
    taught = config.teacher_weight > 0
    targets = {"labels": bool((train.labels >= 0).any()), "votes": train.voted}
    weights = {"labels": config.label_weight, "votes": config.vote_weight}
    found = [name for name in HEADS if weights[name] > 0 and (taught or targets[name])]
    if not found:
        raise UserError("The recipe gives weight only to labels or votes that the data lacks.")
    if (config.patience or config.select_epoch == "best") and "val" not in splits:
        raise UserError("To pick an epoch needs a val split, which the data lacks.")
    return found
