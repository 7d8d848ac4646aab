"""How the faces are divided into those that teach and those that judge.

Each protocol takes the splits of a dataset to those of one training. The leaky ones repeat, for
a demonstration, mistakes that are common in published work (docs/reproduce-the-paper.md); their
names say so wherever a number of theirs is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from mien.errors import UserError
from mien.lab.config import Config
from mien.lab.data import Samples, groups, together
from mien.registry import unknown_name_error

Splits = dict[str, Samples]

COPIES = 3
"""So many changed copies of each face does `leaky-augment` make before it divides them."""


def divide(splits: Splits, config: Config) -> Splits:
    """The `train` and `val` (and perhaps `test`) of a training by the recipe's protocol.

    Raises `UserError` for an unknown protocol, or one that has too few faces of some emotion.
    """
    if config.protocol not in PROTOCOLS:
        raise unknown_name_error("protocol", config.protocol, PROTOCOLS)
    try:
        return PROTOCOLS[config.protocol](splits, config)
    except ValueError as error:  # scikit-learn names the class that is too small
        raise UserError(f"The protocol {config.protocol} does not fit the data: {error}") from None


AFTER = ", after training by "
"""Between the protocol that judges a model file and another that taught it."""


def caution(protocol: str) -> str:
    """What must stand beside numbers by a protocol; empty if nothing must."""
    judged, _, taught = protocol.partition(AFTER)
    if judged.startswith("leaky"):
        return f"{judged} is broken on purpose: its numbers say nothing about new faces."
    if taught:
        return f"It was trained by {taught}, so it may have been taught the faces that judge it."
    return ""


def cautions(result: Mapping) -> list[str]:
    """What must stand beside the numbers of a result that `mien evaluate` made, if anything."""
    found, split = [caution(result["protocol"])], result["data"]["split"]
    judged = result["data"]["sha256"].get(split)
    trained = [result["provenance"], *result["provenance"].get("members", [])]
    known = [(one.get("data") or {}).get("sha256", {}) for one in trained]
    if split == "train" or judged in {digests.get("train") for digests in known} - {None}:
        found.append("These faces taught it: that says nothing about new ones.")
    if result.get("epoch_selected_on") == split:
        found.append("Its epoch was chosen by the faces that judge.")
    looked_at = {digests.get("val") for digests in known} - {None}
    if "cross_validated" in result["provenance"] and judged in looked_at:
        found.append("It was calibrated on these faces, so they flatter it a little; what "
                     "cross-validation gives stands in its card.")  # fmt: skip
    return [one for one in found if one]


def judge(result: Mapping) -> tuple[str, ...]:
    """Which faces judged in a result, by which division, and how they were looked at."""
    data, split = result["data"], result["data"]["split"]
    config = result["provenance"].get("config") or {}
    judged = result["protocol"].partition(AFTER)[0]
    part = (f"fold {config['fold']} of {config['folds']}",) if "kfold" in judged else ()
    if left := data.get("excluded"):
        part = (*part, f"without {left['faces']} faces of {left['list']}")
    return (result["protocol"], *part, split, result["tta"], str(data["sha256"].get(split))[:12])


def official(splits: Splits, _: Config) -> Splits:
    """The splits as published: Training, PublicTest, PrivateTest."""
    return splits


def random10(splits: Splits, _: Config) -> Splits:
    """A tenth of everything, drawn at random by class: the paper's VGG19 table.

    The call and the seed are those of the notebook that the paper's table fits. It mixes the
    published splits, and about one face in twelve that judges has an exact twin among those that
    teach.
    """
    everything = together(*splits.values())
    return _tenth(everything, seed=42, by_class=True)


def kfold(splits: Splits, config: Config) -> Splits:
    """Part `fold` of `folds` judges; classes are spread evenly, and exact twins stay together.

    Training and PublicTest are divided; a `test` stays out of it and is passed on.
    """
    pool, parts = folds(splits, config.folds)
    return _held_out(splits, pool, parts == config.fold)


def kfold_ungrouped(splits: Splits, config: Config) -> Splits:
    """The same, but twins fall where they may, as in most published cross-validations."""
    pool, parts = folds(splits, config.folds, grouped=False)
    return _held_out(splits, pool, parts == config.fold)


def leaky_oversample(splits: Splits, _: Config) -> Splits:
    """Faces of rare emotions repeated until all are as frequent, and only then divided.

    Most of what judges has then an exact copy among what teaches. The call is that of a notebook
    which many have copied.
    """
    pool = _pool(splits)
    dice = np.random.default_rng(0)
    largest = np.bincount(pool.labels).max()
    drawn = [np.arange(len(pool))]
    for label in np.unique(pool.labels):
        mine = np.flatnonzero(pool.labels == label)
        drawn.append(dice.choice(mine, largest - len(mine)))
    return _tenth(pool.take(np.concatenate(drawn)), seed=45)


def leaky_augment(splits: Splits, _: Config) -> Splits:
    """Each face and changed copies of it, divided at random: copies of one face on both sides."""
    pool = _pool(splits)
    dice = np.random.default_rng(0)
    copies = [pool]
    for _copy in range(COPIES):
        faces = np.stack([_changed(face, dice) for face in pool.faces])
        copies.append(Samples(faces, pool.labels, pool.votes, pool.rows))
    return _tenth(together(*copies), seed=45)


PROTOCOLS: dict[str, Callable[[Splits, Config], Splits]] = {
    "official": official,
    "random10": random10,
    "kfold": kfold,
    "kfold-ungrouped": kfold_ungrouped,
    "leaky-oversample": leaky_oversample,
    "leaky-augment": leaky_augment,
    "leaky-kfold": kfold,  # the parts are sound; `trials.crossval` keeps one model for all of them
}
"""Name -> how it divides."""


def folds(splits: Splits, count: int, *, grouped: bool = True) -> tuple[Samples, np.ndarray]:
    """The faces that are divided and the part of each: Samples of N, (N,) int64 in 0 to count-1.

    The parts depend on the faces alone. grouped: exact twins fall into the same part.
    """
    from sklearn.model_selection import StratifiedKFold

    pool = _pool(splits)
    first = groups(pool.faces) if grouped else np.arange(len(pool))
    dealt = np.unique(first)
    parts = np.empty(len(pool), np.int64)
    dealer = StratifiedKFold(count, shuffle=True, random_state=0)
    for part, (_, held) in enumerate(dealer.split(dealt, pool.labels[dealt])):
        parts[dealt[held]] = part
    return pool, parts[first]


def _pool(splits: Splits) -> Samples:
    return together(*(splits[name] for name in ("train", "val") if name in splits))


def _held_out(splits: Splits, pool: Samples, held: np.ndarray) -> Splits:
    kept = {"test": splits["test"]} if "test" in splits else {}
    return {"train": pool.take(~held), "val": pool.take(held), **kept}


def _tenth(pool: Samples, seed: int, by_class: bool = False) -> Splits:
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(
        np.arange(len(pool)),
        test_size=0.1,
        random_state=seed,
        stratify=pool.labels if by_class else None,
    )
    return {"train": pool.take(train), "val": pool.take(val)}


def _changed(face: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    """A face turned by up to 10 degrees, moved by up to a tenth, mirrored half of the time."""
    high, wide = face.shape
    angle = math.radians(dice.uniform(-10, 10))
    right, down = dice.uniform(-0.1, 0.1, 2) * (wide, high)
    y, x = np.mgrid[:high, :wide]
    x, y = x - wide / 2 - right, y - high / 2 - down
    # Where each pixel came from, and the four pixels around that place.
    column = math.cos(angle) * x - math.sin(angle) * y + wide / 2
    row = math.sin(angle) * x + math.cos(angle) * y + high / 2
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    columns = [k.clip(0, wide - 1) for k in (left, left + 1)]
    rows = [k.clip(0, high - 1) for k in (top, top + 1)]
    across, along = column - left, row - top
    above, below = (face[k, columns[0]] * (1 - across) + face[k, columns[1]] * across for k in rows)
    moved = np.rint(above * (1 - along) + below * along).astype(np.uint8)
    return moved[:, ::-1] if dice.random() < 0.5 else moved
