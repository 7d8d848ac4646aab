"""Protocols: how a dataset is split into training and evaluation set.

The leaky protocols reproduce, for demonstration, mistakes that are common in published work
(docs/reproduce-the-paper.md). Their numbers are always shown with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from mien.errors import UserError
from mien.lab.config import Config
from mien.lab.data import Samples, concatenate, duplicate_groups
from mien.registry import unknown_name_error

Splits = dict[str, Samples]

AUGMENTED_COPIES = 3
"""Augmented copies of each face that `leaky-augment` adds before splitting."""


def split(splits: Splits, config: Config) -> Splits:
    """Split a dataset by the config's protocol.

    Args:
        splits: as `data.load` returns them.
        config: config with the protocol, fold and folds.

    Returns:
        `train` and `val`, and with some protocols `test`.

    Raises:
        UserError: unknown protocol, or too few faces of an emotion for it.
    """
    if config.protocol not in PROTOCOLS:
        raise unknown_name_error("protocol", config.protocol, PROTOCOLS)
    try:
        return PROTOCOLS[config.protocol](splits, config)
    except ValueError as error:  # scikit-learn names the class that is too small
        raise UserError(f"Protocol {config.protocol} does not fit the data: {error}") from None


TRAINED_WITH = ", trained with "
"""Text in the protocol of a result, between the protocols of evaluation and of training."""


def warning(protocol: str) -> str:
    """The warning to show with numbers of a protocol; empty if none is needed."""
    evaluation, _, training = protocol.partition(TRAINED_WITH)
    if evaluation.startswith("leaky"):
        return f"Protocol {evaluation} is leaky on purpose: its numbers do not hold for new faces."
    if training:
        return f"The model was trained with protocol {training} and may have seen evaluation faces."
    return ""


def warnings(result: Mapping) -> list[str]:
    """All warnings that a result of `mien evaluate` needs."""
    messages, name = [warning(result["protocol"])], result["data"]["split"]
    evaluated = result["data"]["sha256"].get(name)
    provenance = [result["provenance"], *result["provenance"].get("members", [])]
    digests = [(member.get("data") or {}).get("sha256", {}) for member in provenance]
    if name == "train" or evaluated in {digest.get("train") for digest in digests} - {None}:
        messages.append(
            "The model was trained on these faces: the numbers do not hold for new faces."
        )
    if result.get("epoch_selected_on") == name:
        messages.append(
            "The epoch was selected on these faces: the numbers are optimistically biased."
        )
    validation = {digest.get("val") for digest in digests} - {None}
    if "cross_validated" in result["provenance"] and evaluated in validation:
        messages.append("The model was calibrated on these faces: the numbers are slightly "
                        "optimistically biased. Its card has cross-validated numbers.")  # fmt: skip
    return [message for message in messages if message]


def evaluation_set(result: Mapping) -> tuple[str, ...]:
    """Texts that identify an evaluation: protocol, fold, split, test-time augmentation, data."""
    data, name = result["data"], result["data"]["split"]
    config = result["provenance"].get("config") or {}
    evaluation = result["protocol"].partition(TRAINED_WITH)[0]
    part = (f"fold {config['fold']} of {config['folds']}",) if "kfold" in evaluation else ()
    if excluded := data.get("excluded"):
        part = (*part, f"without {excluded['faces']} faces of {excluded['list']}")
    return (result["protocol"], *part, name, result["tta"], str(data["sha256"].get(name))[:12])


def official(splits: Splits, _: Config) -> Splits:
    """The published splits: Training, PublicTest, PrivateTest."""
    return splits


def random10(splits: Splits, _: Config) -> Splits:
    """A random tenth of all faces, stratified by class: the paper's VGG19 table.

    The call and the seed are those of the notebook that the paper's table matches. It mixes the
    published splits; about one evaluation face in twelve has a duplicate in the training set.
    """
    return _hold_out_tenth(concatenate(*splits.values()), seed=42, stratify=True)


def kfold(splits: Splits, config: Config) -> Splits:
    """Hold out fold `fold` of `folds`; folds are stratified and keep exact duplicates together.

    Training and PublicTest are split; `test` is passed through.
    """
    pool, assigned = folds(splits, config.folds)
    return _hold_out(splits, pool, assigned == config.fold)


def kfold_ungrouped(splits: Splits, config: Config) -> Splits:
    """Split as `kfold`, but ignore duplicates, as most published cross-validations do."""
    pool, assigned = folds(splits, config.folds, grouped=False)
    return _hold_out(splits, pool, assigned == config.fold)


def leaky_oversample(splits: Splits, _: Config) -> Splits:
    """Oversample rare emotions before splitting.

    Most evaluation faces then have an exact duplicate in the training set. The call is that of a
    widely copied notebook.
    """
    pool = _pool(splits)
    rng = np.random.default_rng(0)
    largest = np.bincount(pool.labels).max()
    indices = [np.arange(len(pool))]
    for label in np.unique(pool.labels):
        of_label = np.flatnonzero(pool.labels == label)
        indices.append(rng.choice(of_label, largest - len(of_label)))
    return _hold_out_tenth(pool.select(np.concatenate(indices)), seed=45)


def leaky_augment(splits: Splits, _: Config) -> Splits:
    """Add augmented copies of each face before splitting at random."""
    pool = _pool(splits)
    rng = np.random.default_rng(0)
    parts = [pool]
    for _copy in range(AUGMENTED_COPIES):
        faces = np.stack([_augmented(face, rng) for face in pool.faces])
        parts.append(Samples(faces, pool.labels, pool.votes, pool.rows))
    return _hold_out_tenth(concatenate(*parts), seed=45)


PROTOCOLS: dict[str, Callable[[Splits, Config], Splits]] = {
    "official": official,
    "random10": random10,
    "kfold": kfold,
    "kfold-ungrouped": kfold_ungrouped,
    "leaky-oversample": leaky_oversample,
    "leaky-augment": leaky_augment,
    # The split has no leak, but `crossval` then trains one model on all folds in turn.
    "leaky-kfold": kfold,
}
"""Name -> function that splits a dataset."""


def folds(splits: Splits, count: int, *, grouped: bool = True) -> tuple[Samples, np.ndarray]:
    """Assign faces to folds; the assignment depends on the faces only.

    Args:
        splits: `train` and `val` are used.
        count: number of folds.
        grouped: keep exact duplicates in the same fold.

    Returns:
        The N faces, and the fold of each: (N,) int64, 0 to count - 1.
    """
    from sklearn.model_selection import StratifiedKFold

    pool = _pool(splits)
    group = duplicate_groups(pool.faces) if grouped else np.arange(len(pool))
    unique = np.unique(group)
    assigned = np.empty(len(pool), np.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=0)
    for fold, (_, held_out) in enumerate(splitter.split(unique, pool.labels[unique])):
        assigned[unique[held_out]] = fold
    return pool, assigned[group]


def _pool(splits: Splits) -> Samples:
    return concatenate(*(splits[name] for name in ("train", "val") if name in splits))


def _hold_out(splits: Splits, pool: Samples, held_out: np.ndarray) -> Splits:
    test = {"test": splits["test"]} if "test" in splits else {}
    return {"train": pool.select(~held_out), "val": pool.select(held_out), **test}


def _hold_out_tenth(pool: Samples, seed: int, stratify: bool = False) -> Splits:
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(
        np.arange(len(pool)),
        test_size=0.1,
        random_state=seed,
        stratify=pool.labels if stratify else None,
    )
    return {"train": pool.select(train), "val": pool.select(val)}


def _augmented(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate by up to 10 degrees, translate by up to a tenth, flip with probability 1/2."""
    height, width = face.shape
    angle = math.radians(rng.uniform(-10, 10))
    right, down = rng.uniform(-0.1, 0.1, 2) * (width, height)
    y, x = np.mgrid[:height, :width]
    x, y = x - width / 2 - right, y - height / 2 - down
    # Source position of each pixel, and bilinear interpolation of the four pixels around it.
    column = math.cos(angle) * x - math.sin(angle) * y + width / 2
    row = math.sin(angle) * x + math.cos(angle) * y + height / 2
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    columns = [k.clip(0, width - 1) for k in (left, left + 1)]
    rows = [k.clip(0, height - 1) for k in (top, top + 1)]
    across, along = column - left, row - top
    above, below = (face[k, columns[0]] * (1 - across) + face[k, columns[1]] * across for k in rows)
    moved = np.rint(above * (1 - along) + below * along).astype(np.uint8)
    return moved[:, ::-1] if rng.random() < 0.5 else moved
