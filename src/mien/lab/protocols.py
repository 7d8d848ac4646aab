"""Protocols: how a dataset is split into a training set and evaluation sets.

The leaky protocols reproduce, for demonstration, mistakes that are common in published work
(docs/reproduce-the-paper.md). `warning` returns the warning to show with their results.
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
"""Number of augmented copies of each face that `leaky-augment` adds before splitting."""


def split(splits: Splits, config: Config) -> Splits:
    """Split a dataset by the config's protocol.

    Args:
        splits: The splits of the dataset, as returned by `data.load`.
        config: Config with the protocol, fold and number of folds.

    Returns:
        Split name -> samples: `train`, `val` and, with some protocols, `test`. The official
        protocol returns `splits` unchanged.

    Raises:
        UserError: Unknown protocol, or too few faces of an emotion to split them.
    """
    if config.protocol not in PROTOCOLS:
        raise unknown_name_error("protocol", config.protocol, PROTOCOLS)
    try:
        return PROTOCOLS[config.protocol](splits, config)
    except ValueError as error:  # from scikit-learn; describes the class that is too small
        raise UserError(f"Protocol {config.protocol} does not fit the data: {error}") from None


TRAINED_WITH = ", trained with "
"""Text in a result's `protocol` that separates the evaluation protocol from the training protocol.

The training protocol is stated for model files that were trained with another protocol than the
official one."""


def warning(protocol: str) -> str:
    """The warning to show with the numbers of a result's `protocol`; empty if none is needed."""
    evaluation, _, training = protocol.partition(TRAINED_WITH)
    if evaluation.startswith("leaky"):
        return f"Protocol {evaluation} is leaky on purpose: its numbers do not hold for new faces."
    if training:
        return f"The model was trained with protocol {training} and may have seen evaluation faces."
    return ""


def warnings(result: Mapping) -> list[str]:
    """All warnings that a result of `mien evaluate` needs."""
    messages, split_name = [warning(result["protocol"])], result["data"]["split"]
    evaluated = result["data"]["sha256"].get(split_name)
    provenance = [result["provenance"], *result["provenance"].get("members", [])]
    digests = [(member.get("data") or {}).get("sha256", {}) for member in provenance]
    trained_on = {digest.get("train") for digest in digests} - {None}
    if split_name == "train" or evaluated in trained_on:
        messages.append(
            "The model was trained on these faces: the numbers do not hold for new faces."
        )
    if result.get("epoch_selected_on") == split_name:
        messages.append(
            "The epoch was selected on these faces: the numbers are optimistically biased."
        )
    calibrated_on = {digest.get("val") for digest in digests} - {None}
    if "cross_validated" in result["provenance"] and evaluated in calibrated_on:
        messages.append("The model was calibrated on these faces: the numbers are slightly "
                        "optimistically biased. Its card has cross-validated numbers.")  # fmt: skip
    return [message for message in messages if message]


def evaluation_set(result: Mapping) -> tuple[str, ...]:
    """Texts that identify an evaluation set and how it was evaluated.

    They are the protocol, the fold and the excluded faces (if any), the split, the test-time
    augmentation, and a digest of the data.
    """
    data, split_name = result["data"], result["data"]["split"]
    config = result["provenance"].get("config") or {}
    evaluation = result["protocol"].partition(TRAINED_WITH)[0]
    subset = (f"fold {config['fold']} of {config['folds']}",) if "kfold" in evaluation else ()
    if excluded := data.get("excluded"):
        subset = (*subset, f"without {excluded['faces']} faces of {excluded['list']}")
    digest = str(data["sha256"].get(split_name))[:12]
    return (result["protocol"], *subset, split_name, result["tta"], digest)


def official(splits: Splits, _config: Config) -> Splits:
    """Keep the splits of the data; for FER2013: Training, PublicTest and PrivateTest."""
    return splits


def random10(splits: Splits, _config: Config) -> Splits:
    """Hold out a random tenth of all faces, stratified by class.

    The paper's table for VGG19 matches a public notebook that splits the faces by the same function
    call with the same seed. The split mixes the published splits, and about one evaluation face in
    twelve has a duplicate in the training set.
    """
    return _hold_out_tenth(concatenate(*splits.values()), seed=42, stratify=True)


def kfold(splits: Splits, config: Config) -> Splits:
    """Hold out fold `fold` of `folds`; folds are stratified and keep exact duplicates together.

    The folds are made from `train` and `val`; `test` is unchanged.
    """
    pool, assigned = folds(splits, config.folds)
    return _hold_out(splits, pool, assigned == config.fold)


def kfold_ungrouped(splits: Splits, config: Config) -> Splits:
    """Split as `kfold`, but ignore duplicates, as in most published cross-validations."""
    pool, assigned = folds(splits, config.folds, grouped=False)
    return _hold_out(splits, pool, assigned == config.fold)


def leaky_oversample(splits: Splits, _config: Config) -> Splits:
    """Oversample rare emotions before splitting.

    Most evaluation faces then have an exact duplicate in the training set. The function call that
    splits the faces is that of a widely copied notebook.
    """
    pool = _pool(splits)
    rng = np.random.default_rng(0)
    labels, counts = np.unique(pool.labels, return_counts=True)
    indices = [np.arange(len(pool))]
    for label, count in zip(labels, counts, strict=True):
        with_label = np.flatnonzero(pool.labels == label)
        indices.append(rng.choice(with_label, counts.max() - count))
    return _hold_out_tenth(pool.select(np.concatenate(indices)), seed=45)


def leaky_augment(splits: Splits, _config: Config) -> Splits:
    """Add augmented copies of each face before splitting at random."""
    pool = _pool(splits)
    rng = np.random.default_rng(0)
    copies = [pool]
    for _ in range(AUGMENTED_COPIES):
        faces = np.stack([_augmented(face, rng) for face in pool.faces])
        copies.append(Samples(faces, pool.labels, pool.votes, pool.rows))
    return _hold_out_tenth(concatenate(*copies), seed=45)


PROTOCOLS: dict[str, Callable[[Splits, Config], Splits]] = {
    "official": official,
    "random10": random10,
    "kfold": kfold,
    "kfold-ungrouped": kfold_ungrouped,
    "leaky-oversample": leaky_oversample,
    "leaky-augment": leaky_augment,
    # The split has no leak, but `crossval` starts each fold from the weights of the previous one.
    "leaky-kfold": kfold,
}
"""Name -> function that splits a dataset."""


def folds(splits: Splits, count: int, *, grouped: bool = True) -> tuple[Samples, np.ndarray]:
    """Assign faces to stratified folds; the assignment does not depend on the seed of the config.

    Args:
        splits: The dataset, of which `train` and `val` are used.
        count: Number of folds.
        grouped: Keep exact duplicates in the same fold.

    Returns:
        The N faces, and the fold of each face: (N,) int64 from 0 to count - 1.
    """
    from sklearn.model_selection import StratifiedKFold

    pool = _pool(splits)
    # Only the first face of each group of duplicates is split; the others get its fold.
    first_of_group = duplicate_groups(pool.faces) if grouped else np.arange(len(pool))
    first = np.unique(first_of_group)
    assigned = np.empty(len(pool), np.int64)
    splitter = StratifiedKFold(count, shuffle=True, random_state=0)
    for fold, (_, held_out) in enumerate(splitter.split(first, pool.labels[first])):
        assigned[first[held_out]] = fold
    return pool, assigned[first_of_group]


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
    """Rotate by up to 10 degrees, translate by up to a tenth of the size, flip half of the time."""
    height, width = face.shape
    angle = math.radians(rng.uniform(-10, 10))
    shift_x, shift_y = rng.uniform(-0.1, 0.1, 2) * (width, height)
    y, x = np.mgrid[:height, :width]
    x, y = x - width / 2 - shift_x, y - height / 2 - shift_y
    # The source position of each pixel, and bilinear interpolation of the four pixels around it.
    column = math.cos(angle) * x - math.sin(angle) * y + width / 2
    row = math.sin(angle) * x + math.cos(angle) * y + height / 2
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    columns = [k.clip(0, width - 1) for k in (left, left + 1)]
    rows = [k.clip(0, height - 1) for k in (top, top + 1)]
    x_weight, y_weight = column - left, row - top
    above, below = (
        face[k, columns[0]] * (1 - x_weight) + face[k, columns[1]] * x_weight for k in rows
    )
    resampled = np.rint(above * (1 - y_weight) + below * y_weight).astype(np.uint8)
    return resampled[:, ::-1] if rng.random() < 0.5 else resampled
