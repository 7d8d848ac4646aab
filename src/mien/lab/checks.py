"""What is refused before a training begins, so that nothing is begun that could not go on."""

from __future__ import annotations

import torch

from mien.errors import UserError
from mien.lab import data, models, runs
from mien.lab.config import Config
from mien.lab.data import Samples
from mien.lab.heads import CLASSES, HEADS


def network(recipe: Config) -> None:
    """Refuse a network that there is not, or which cannot look at what it would be shown."""
    with torch.random.fork_rng(devices=[]):
        built = models.build(
            recipe.model, channels=recipe.channels, classes=CLASSES, dropout=recipe.dropout,
            pretrained=recipe.pretrained,
        ).eval()  # fmt: skip
    for side in {recipe.side, recipe.first_side or recipe.side}:
        try:
            with torch.no_grad():
                built(torch.zeros(2, recipe.channels, side, side))
        except RuntimeError as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{recipe.model} cannot look at {side} pixels: {why}.") from None


def sources(recipe: Config, about: dict) -> None:
    """Refuse teachers and a start that may have been taught the faces which judge this run.

    about: the data, as `data.describe` gives it; where a protocol divides the faces anew, it must
    be the same. Only `leaky-kfold` goes on with a network across its parts; that is its mistake.
    Teachers must know every head that they are to teach.
    """
    if recipe.protocol == "leaky-kfold":
        return
    # The answers of a store were taken from teachers that need not be here any more.
    asked = () if recipe.stored_answers else recipe.teachers
    for path in (*asked, *([recipe.start] if recipe.start else [])):
        if not runs.open_run(path).finished:
            raise UserError(f"{path} is not finished; `mien train` on the same --out goes on.")
        other = runs.open_run(path).recipe
        if _division(other) != _division(recipe):
            raise UserError(
                f"{path} was trained by {other.protocol}, part {other.fold}: it may know the faces "
                f"that judge here, by {recipe.protocol}, part {recipe.fold}."
            )
        if recipe.protocol != "official" and runs.open_run(path).about.get("data", about) != about:
            raise UserError(f"{path} was trained on other data, which {recipe.protocol} divided "
                            "otherwise: it may know the faces that judge here.")  # fmt: skip
    weights = {"labels": recipe.label_weight, "votes": recipe.vote_weight}
    for path in asked:
        known = runs.open_run(path).about.get("heads", list(HEADS))
        if unknown := [name for name in HEADS if weights[name] > 0 and name not in known]:
            field = f"{unknown[0].removesuffix('s')}_weight"
            raise UserError(f"{path} was not taught {unknown[0]} and cannot teach them; set "
                            f"{field}=0.")  # fmt: skip


def _division(recipe: Config) -> tuple:
    """What says which faces teach and which judge."""
    parts = (recipe.fold, recipe.folds) if "kfold" in recipe.protocol else ()
    return (recipe.protocol, *parts)


def heads(recipe: Config, splits: dict[str, Samples]) -> list[str]:
    """The heads that have something to learn from the data; a `UserError` if there is none."""
    train = data.split(splits, "train")
    taught = recipe.teacher_weight > 0
    targets = {"labels": bool((train.labels >= 0).any()), "votes": train.voted}
    weights = {"labels": recipe.label_weight, "votes": recipe.vote_weight}
    found = [name for name in HEADS if weights[name] > 0 and (taught or targets[name])]
    if not found:
        raise UserError("The recipe gives weight only to labels or votes that the data lacks.")
    if (recipe.patience or recipe.keep == "best") and "val" not in splits:
        raise UserError("To pick an epoch needs a val split, which the data lacks.")
    return found
