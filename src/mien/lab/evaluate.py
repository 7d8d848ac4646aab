"""Evaluate a run or a model file on a split of a dataset like FER2013."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.lab import checks, data, inference, models, protocols, runs, scores
from mien.lab.config import to_public_json
from mien.lab.data import Samples
from mien.lab.runs import Run
from mien.labels import EMOTIONS


def evaluate(
    model: str | Path,
    root: str | Path,
    *,
    split: str = "val",
    tta: str = "none",
    input_size: int = 0,
    exclude: Path | None = None,
    resamples: int = 1000,
) -> dict:
    """Evaluate a run or a model file on one split of a dataset.

    The predictions of a run are saved in the run folder.

    Args:
        model: A run folder or an `.onnx` file.
        root: Path of the dataset.
        split: "train", "val" or "test".
        tta: Test-time augmentation: "none", "flip" or "ten_crop".
        input_size: Input size of a run's network in pixels; 0 is the size it was trained with.
        exclude: A CSV file whose column `row` lists the faces to exclude, as written by
            `mien audit --exclusions`.
        resamples: Number of bootstrap samples.

    Returns:
        The result in the format of the files in `results/`: model, data, options and scores.

    Raises:
        UserError: The model or the data cannot be read; an option does not fit them; or the run was
            trained with a protocol other than "official", and on other data.
    """
    path = Path(model)
    target = runs.open_run(path) if path.is_dir() else path
    provenance = _provenance(target)
    evaluation_set = _load_evaluation_set(target, provenance, root, split, exclude)
    samples = evaluation_set.samples
    _check_input_size(target, input_size, face_size=samples.faces.shape[1])
    cost = {}
    if isinstance(target, Run):
        input_size = input_size or target.config.input_size
        cost = _cost(target, input_size)
    predictions = inference.predict(target, samples.faces, tta, input_size)
    result = {
        "name": path.name,
        "data": evaluation_set.description,
        "protocol": evaluation_set.protocol,
        "tta": tta,
        "input_size": input_size or None,
        "provenance": provenance,
        "environment": runs.environment(),
        **cost,
        **_epoch_selection(provenance),
        "heads": {
            head: scores.score(probabilities, samples, evaluation_set.train, resamples)
            for head, probabilities in predictions.items()
        },
    }
    if isinstance(target, Run):
        truth = {"rows": samples.rows, "truth": samples.labels, "raters": samples.votes}
        runs.save_predictions(target, truth | predictions, result)
    return result


def load_or_evaluate(run: Run, root: Path) -> dict:
    """Return the saved result of a run on `val` without TTA; evaluate the run if there is none."""
    if run.metrics_file.exists():
        saved = run.result()
        expected = (run.about.get("data", {}) | {"split": "val"}, "none", run.config.input_size)
        if tuple(saved.get(key) for key in ("data", "tta", "input_size")) == expected:
            return saved
    return evaluate(run.folder, root)


@dataclass(frozen=True)
class _EvaluationSet:
    """The faces of an evaluation.

    Attributes:
        samples: The faces to evaluate.
        train: The training set; None if the data has none, or if it is evaluated itself.
        protocol: Name of the protocol, as in a result.
        description: Description of the data, the split and the excluded faces, as in a result.
    """

    samples: Samples
    train: Samples | None
    protocol: str
    description: dict


def _load_evaluation_set(
    target: Run | Path, provenance: Mapping, root: str | Path, split: str, exclude: Path | None
) -> _EvaluationSet:
    protocol, splits, description = _apply_protocol(data.load(root), target, provenance)
    samples = data.split(splits, split)
    train = splits.get("train") if split != "train" else None
    description = description | {"split": split}
    if exclude is not None:
        samples, excluded = _exclude(samples, exclude, split)
        description["excluded"] = {"list": exclude.name, "faces": excluded}
    return _EvaluationSet(samples, train, protocol, description)


def _apply_protocol(
    splits: protocols.Splits, target: Run | Path, provenance: Mapping
) -> tuple[str, protocols.Splits, dict]:
    """Return the name of the protocol, the splits, and the description of the data.

    A run is evaluated on the splits that its protocol makes of the data. A model file is evaluated
    on the data's own splits, and the name includes the protocols of its training.
    """
    description = data.describe(splits)
    protocol = "official" if description["official"] else "as the data is split"
    unofficial = sorted(_protocols(provenance) - {"official"})
    if not unofficial:
        return protocol, splits, description
    if not isinstance(target, Run):
        return protocol + protocols.TRAINED_WITH + ", ".join(unofficial), splits, description
    if target.about.get("data", description) != description:
        raise UserError(
            f"{target.folder} was trained with protocol {unofficial[0]} on other data, so its "
            "training faces could be in the evaluation set. Give the data that it was trained on."
        )
    return unofficial[0], protocols.split(splits, target.config), description


def _exclude(samples: Samples, path: Path, split: str) -> tuple[Samples, int]:
    """Return the samples without the rows listed in a file, and the number of excluded faces."""
    is_kept = ~np.isin(samples.rows, _listed_rows(path))
    if is_kept.all():
        raise UserError(f"{path} lists no face of {split}; give a list for this data.")
    if not is_kept.any():
        raise UserError(f"{path} excludes every face of {split}; give a shorter list.")
    return samples.select(is_kept), int((~is_kept).sum())


def _listed_rows(path: Path) -> list[int]:
    """Return the column `row` of a CSV file; raise a `UserError` if it has no valid one."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [int(line["row"]) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} is not a list of faces; give a CSV file with a column 'row'."
        ) from None


def _check_input_size(target: Run | Path, input_size: int, face_size: int) -> None:
    if input_size and not isinstance(target, Run):
        raise UserError(f"{target.name} has a fixed input size; --input-size is only for runs.")
    if not 0 <= input_size <= face_size:
        raise UserError(f"--input-size {input_size} is out of range; use 1 to {face_size} pixels.")
    if input_size and isinstance(target, Run):
        checks.check_input_size(target.config, input_size)


def _configs(provenance: Mapping) -> list[Mapping]:
    """Return the configs of all networks of a model, as far as they are recorded."""
    members = provenance.get("members", [provenance])
    return [member["config"] for member in members if member.get("config")]


def _protocols(provenance: Mapping) -> set[str]:
    return {config.get("protocol", "official") for config in _configs(provenance)}


def _epoch_selection(provenance: Mapping) -> dict[str, str]:
    """Return `epoch_selected_on` for a result, if an epoch of any network was selected on `val`."""
    is_selected = any(
        config.get("select_epoch") == "best" or config.get("patience")
        for config in _configs(provenance)
    )
    return {"epoch_selected_on": "val"} if is_selected else {}


def _cost(run: Run, input_size: int) -> dict[str, dict]:
    """Return the cost of a run's network with one head of seven classes, and of its training.

    The training accuracy is that of the last epoch, on augmented faces.
    """
    config, log = run.config, run.log()
    network = models.build(config.model, channels=config.channels, classes=len(EMOTIONS))
    multiply_adds = models.multiply_adds(network, input_size, config.channels)
    return {
        "network": {"parameters": models.count_parameters(network), "multiply_adds": multiply_adds},
        "training": {
            "epochs": len(log),
            "seconds": sum(entry.get("seconds", 0) for entry in log),
            "accuracy": log[-1].get("accuracy") if log else None,
        },
    }


def _provenance(target: Run | Path) -> dict:
    """Return the config, seed, data and commit of a run, or the card of a model file."""
    if isinstance(target, Run):
        return {"config": to_public_json(target.config), "seed": target.config.seed, **target.about}
    from mien.classification.classifier import Classifier  # imports ONNX Runtime

    return dict(Classifier(target, threads=1).spec.card)
