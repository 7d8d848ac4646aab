"""Check the structure of the JSON files and arrays of run folders before they are used.

The files may be damaged, edited, or written by another program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from mien.lab.heads import CLASS_NAMES

MAX_NUMBER = 1e15
"""Maximum absolute value of a number; larger ones cannot be formatted or drawn."""

MAX_VOTES = 1000
"""Maximum plausible number of votes of a face for one emotion; FER+ has ten raters."""

PLOTTED_KEYS = ("lr", "accuracy", "label_loss", "val_accuracy", "val_loss")
"""Keys of a log entry whose numbers are plotted, and so must not be null."""

SHARE_SECTIONS = ("proportions", "sampling_floor")
"""Sections of a result that contain scores of shares instead of labels."""

Check = Callable[[object], bool]


def is_number(value: object) -> bool:
    """Whether a value is a finite number of plausible size; true and false are not numbers."""
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER  # type: ignore[operator, arg-type]


def is_count(value: object) -> bool:
    """Whether a value is a non-negative integer, possibly stored as a float."""
    return is_number(value) and value >= 0 and value == int(value)  # type: ignore[operator, call-overload]


def is_text(value: object) -> bool:
    """Whether a value is a printable text of plausible length."""
    return isinstance(value, str) and len(value) < 10_000 and not _has_surrogates(value)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _is_score(value: object) -> bool:
    """Whether a value is a score with its interval, and has no other fields."""
    return _is_map(value, is_number) and set(value) == {"value", "low", "high"}  # type: ignore[call-overload]


def _is_map(value: object, check: Check) -> bool:
    """Whether a value is a dictionary of texts to values that pass a check."""
    return isinstance(value, dict) and all(
        is_text(key) and check(item) for key, item in value.items()
    )


def _has_fields(
    value: object, required: Mapping[str, Check], optional: Mapping[str, Check]
) -> bool:
    """Whether a value is a dictionary whose fields pass their checks; it may have other fields."""
    if not isinstance(value, dict):
        return False
    has_required = all(key in value and check(value[key]) for key, check in required.items())
    return has_required and all(
        check(value[key]) for key, check in optional.items() if key in value
    )


def is_data_description(value: object) -> bool:
    """Whether a value describes a dataset, like the entry `data` of `about.json`."""
    return _has_fields(
        value,
        {"sha256": lambda digests: _is_map(digests, is_text)},
        {"name": is_text, "faces": lambda counts: _is_map(counts, is_count)},
    )


def is_about(value: object) -> bool:
    """Whether a value has the structure of `about.json`."""
    return _has_fields(
        value,
        {},
        {
            "data": is_data_description,
            "heads": lambda heads: isinstance(heads, list) and _are_heads(heads),
            "machine": is_text,
            "commit": lambda commit: commit is None or is_text(commit),
        },
    )


def _are_heads(names: object) -> bool:
    heads = list(names)  # type: ignore[call-overload]
    return bool(heads) and all(isinstance(name, str) and name in CLASS_NAMES for name in heads)


def are_log_entries(value: object) -> bool:
    """Whether a value is a list of log entries with strictly increasing epochs."""
    if not isinstance(value, list):
        return False
    has_numbers = all(
        _is_map(entry, lambda item: item is None or is_number(item))
        and is_count(entry.get("epoch"))
        and is_number(entry.get("seconds", 0))
        and all(item is not None for key, item in entry.items() if key in PLOTTED_KEYS)
        for entry in value
    )
    return has_numbers and all(a["epoch"] < b["epoch"] for a, b in pairwise(value))


def is_result(value: object) -> bool:
    """Whether a value has the structure of `metrics.json`, a result of `mien evaluate`.

    The config of a run with cross-validation must name its fold.
    """
    has_structure = _has_fields(
        value,
        {
            "data": _is_evaluated_data,
            "protocol": is_text,
            "tta": is_text,
            "provenance": _is_provenance,
            "input_size": lambda size: size is None or is_count(size),
            "heads": lambda heads: (
                isinstance(heads, dict)
                and _are_heads(heads)
                and all(_is_head_result(sections) for sections in heads.values())
            ),
        },
        {
            "name": is_text,
            "network": lambda cost: _has_fields(
                cost, {"parameters": is_count, "multiply_adds": is_count}, {}
            ),
            "training": lambda cost: _has_fields(
                cost, {}, {"epochs": is_count, "seconds": is_number}
            ),
            "epoch_selected_on": is_text,
        },
    )
    if has_structure and "kfold" in value["protocol"]:  # type: ignore[index]
        config = value["provenance"].get("config")  # type: ignore[index]
        return _has_fields(config, {"fold": is_count, "folds": is_count}, {})
    return has_structure


def _is_evaluated_data(value: object) -> bool:
    return is_data_description(value) and _has_fields(
        value,
        {"name": is_text, "split": is_text},
        {"excluded": lambda item: _has_fields(item, {"faces": is_count, "list": is_text}, {})},
    )


def _is_provenance(value: object, depth: int = 0) -> bool:
    return _has_fields(
        value,
        {},
        {
            "data": lambda item: not item or is_data_description(item),
            "config": lambda item: not item or isinstance(item, dict),
            "members": lambda items: (
                depth == 0
                and isinstance(items, list)
                and all(_is_provenance(item, depth=1) for item in items)
            ),
        },
    )


def _is_head_result(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(
        is_text(name)
        and (_are_share_scores(section) if name in SHARE_SECTIONS else _are_label_scores(section))
        for name, section in value.items()
    )


def _are_share_scores(value: object) -> bool:
    return _has_fields(value, {"faces": is_count}, {}) and all(
        _is_score(score)
        for name, score in value.items()  # type: ignore[attr-defined]
        if name != "faces"
    )


def _are_label_scores(value: object) -> bool:
    required = {"faces": is_count, "per_class": _is_per_class, "confusion": _is_confusion_matrix}
    scores = dict.fromkeys(("accuracy", "macro_f1"), _is_score)
    optional = dict.fromkeys(("log_loss", "brier", "calibration_error"), _is_score)
    if not _has_fields(value, required | scores, optional):
        return False
    matrix = value["confusion"]  # type: ignore[index]
    return len(matrix) == len(value["per_class"])  # type: ignore[index]


def _is_per_class(value: object) -> bool:
    metrics = dict.fromkeys(("precision", "recall", "f1", "specificity"), is_number)
    return bool(value) and _is_map(
        value, lambda row: _has_fields(row, {**metrics, "support": is_count}, {})
    )


def _is_confusion_matrix(value: object) -> bool:
    """Whether a value is a square matrix of counts that are not all 0."""
    if not isinstance(value, list):
        return False
    return all(
        isinstance(row, list) and len(row) == len(value) and all(map(is_count, row))
        for row in value
    ) and any(map(any, value))


def are_predictions(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays have the names, shapes and values of `predictions.npz`."""
    if not {"rows", "truth", "raters"} <= set(arrays) or not set(CLASS_NAMES) & set(arrays):
        return False
    rows, truth, raters = arrays["rows"], arrays["truth"], arrays["raters"]
    has_shapes = rows.shape == truth.shape == (len(raters),) and raters.shape[1:] == (10,)
    are_integers = all(array.dtype.kind in "iu" for array in (rows, truth, raters))
    if not has_shapes or not are_integers or not len(rows):
        return False
    if not (truth.min() >= -1 and truth.max() < len(CLASS_NAMES["labels"])):
        return False
    return bool(raters.min() >= 0 and raters.max() <= MAX_VOTES) and all(
        _are_probabilities(arrays[head], (len(rows), len(names)))
        for head, names in CLASS_NAMES.items()
        if head in arrays
    )


def _are_probabilities(array: np.ndarray, shape: tuple[int, int]) -> bool:
    if array.shape != shape or array.dtype.kind != "f":
        return False
    # Tolerances for rounding, for example to float16.
    return bool(np.all(array >= -1e-3) and np.allclose(array.sum(1, dtype=float), 1, atol=0.01))
