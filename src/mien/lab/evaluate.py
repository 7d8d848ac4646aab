"""Evaluate a run or a model file on a split: predictions for every face, and their scores.

Runs are evaluated with torch, because some training machines do not have ONNX Runtime.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import batches, data, models, protocols, runs, scores
from mien.lab.config import published
from mien.lab.heads import CLASS_NAMES, HEADS, LOGIT_COUNT
from mien.lab.runs import Run
from mien.labels import EMOTIONS, restrict_labels
from mien.registry import unknown_name_error

if TYPE_CHECKING:
    from mien.classification.classifier import Classifier

TTA_SHIFTS = {
    "none": [(0, 0)],
    "flip": [(0, 0)],
    "ten_crop": [(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)],
}
"""Test-time augmentation -> shifts of the face (down, right) in pixels.

Except for "none", predictions for the mirrored faces are added. With faces of 48 pixels and
an input size of 44, "ten_crop" is standard ten-crop testing."""

Predictions = dict[str, np.ndarray]
"""Head ("labels", "votes") -> (N, 7) or (N, 8) probabilities."""


def load_network(run: Run, device: torch.device | str = "cpu") -> nn.Module:
    """Load the trained network of a run, in evaluation mode; `UserError` if it is unfinished."""
    config = run.config
    model = models.build(config.model, channels=config.channels, classes=LOGIT_COUNT)
    load_weights(model, run)
    return model.to(device).eval()


def load_weights(model: nn.Module, run: Run) -> None:
    """Load the weights of a run into a network; `UserError` if they are missing or do not fit."""
    if not run.finished:
        raise UserError(
            f"{run.folder} is not finished. Resume it with mien train --out {run.folder}."
        )
    weights = runs.load_tensors(run.weights_file)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise UserError(
            f"The weights of {run.folder} do not fit the network; use a run of the same model."
        ) from None


@torch.no_grad()
def compute_logits(
    model: nn.Module,
    faces: np.ndarray | Tensor,
    *,
    input_size: int,
    channels: int = 1,
    batch: int = 512,
) -> Tensor:
    """Compute the logits of a network.

    Args:
        model: a network in evaluation mode.
        faces: (N, H, W) uint8.
        input_size: side of the central window that the network receives, in pixels.
        channels: number of input channels, 1 or 3.
        batch: number of faces per forward pass.

    Returns:
        (N, classes) float32, on the CPU.
    """
    device = next(model.parameters()).device
    logits = []
    for part in torch.as_tensor(faces).split(batch):
        pixels = batches.standardize(part.to(device))[:, None].expand(-1, channels, -1, -1)
        crops = batches.center_crop(pixels, input_size).contiguous(
            memory_format=torch.channels_last
        )
        logits.append(model(crops).float())
    return torch.cat(logits).cpu()


def augment(faces: np.ndarray, tta: str) -> list[np.ndarray]:
    """Return the augmented versions of faces over which predictions are averaged.

    Args:
        faces: (N, H, W).
        tta: "none", "flip" or "ten_crop".

    Returns:
        1, 2 or 10 arrays of the same shape.
    """
    if tta not in TTA_SHIFTS:
        raise unknown_name_error("test-time augmentation", tta, TTA_SHIFTS)
    shifted = [_shift(faces, down, right) for down, right in TTA_SHIFTS[tta]]
    return shifted if tta == "none" else shifted + [face[:, :, ::-1] for face in shifted]


def _shift(faces: np.ndarray, down: int, right: int) -> np.ndarray:
    rows = np.clip(np.arange(faces.shape[1]) - down, 0, faces.shape[1] - 1)
    columns = np.clip(np.arange(faces.shape[2]) - right, 0, faces.shape[2] - 1)
    return faces[:, rows[:, None], columns]


def predict(
    target: Run | Path, faces: np.ndarray, tta: str = "none", input_size: int = 0
) -> Predictions:
    """Predict the probabilities of each trained head, averaged over test-time augmentation.

    Args:
        target: a run, or the path of a model file. A model file without named heads counts as
            head "votes" if its labels include contempt, otherwise as head "labels".
        faces: (N, 48, 48) uint8.
        tta: "none", "flip" or "ten_crop".
        input_size: input size of a run's network in pixels; 0 is the size it was trained with.
    """
    if isinstance(target, Run):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, config = load_network(target, device), target.config
        logits = partial(
            compute_logits,
            model,
            input_size=input_size or config.input_size,
            channels=config.channels,
        )
        heads = target.about.get("heads", list(HEADS))
        return _mean([_split_heads(logits(part.copy()), heads) for part in augment(faces, tta)])
    from mien.classification.classifier import Classifier

    classifier = Classifier(target)
    return _mean([_classify(classifier, part) for part in augment(faces, tta)])


def _split_heads(logits: Tensor, heads: Sequence[str]) -> Predictions:
    return {head: logits[:, HEADS[head]].softmax(1).numpy() for head in heads}


def _classify(classifier: Classifier, faces: np.ndarray) -> Predictions:
    from mien.classification.model_spec import crop

    spec = classifier.spec
    whole = (0.0, 0.0, float(faces.shape[2]), float(faces.shape[1]))
    rgb = faces[..., None].repeat(3, axis=-1)
    crops = np.stack([crop(face, whole, spec.side, spec.channels) for face in rgb])
    parts = [crops[k : k + 256] for k in range(0, len(crops), 256)]
    if spec.card.get("heads"):
        outputs = [classifier.predict_all_heads(part) for part in parts]
        return {head: np.concatenate([one[head] for one in outputs]) for head in outputs[0]}
    probabilities = np.concatenate([classifier(part) for part in parts])
    head = "votes" if "contempt" in spec.labels else "labels"
    return {head: restrict_labels(probabilities, spec.labels, CLASS_NAMES[head])}


def _mean(predictions: Sequence[Predictions]) -> Predictions:
    return {head: np.mean([one[head] for one in predictions], axis=0) for head in predictions[0]}


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
        model: a run folder or an `.onnx` file.
        root: path of the dataset.
        split: "train", "val" or "test".
        tta: test-time augmentation: "none", "flip" or "ten_crop".
        input_size: input size of a run's network in pixels; 0 is the size it was trained with.
        exclude: a CSV file whose column `row` lists faces to exclude (`mien audit --exclusions`).
        resamples: number of bootstrap samples.

    Returns:
        The result as in the files of `results/`: model, data, options and scores.

    Raises:
        UserError: an option does not fit the model or the data, or the protocol of the run makes
            its own splits and this is not the dataset that the run was trained on.
    """
    path = Path(model)
    target = runs.open_run(path) if path.is_dir() else path
    if input_size and not isinstance(target, Run):
        raise UserError(f"{path.name} has a fixed input size; --input-size is only for runs.")
    provenance = _provenance(target)
    protocol, splits, data_facts = _split_like_training(data.load(root), target, provenance)
    samples, train = data.split(splits, split), splits.get("train") if split != "train" else None
    data_facts = data_facts | {"split": split}
    if exclude is not None:
        samples, excluded = _exclude(samples, exclude, split)
        data_facts["excluded"] = {"list": exclude.name, "faces": excluded}
    face_size = samples.faces.shape[1]
    if not 0 <= input_size <= face_size:
        raise UserError(f"--input-size {input_size} is out of range; use 1 to {face_size} pixels.")
    predictions = predict(target, samples.faces, tta, input_size)
    training_size = target.config.input_size if isinstance(target, Run) else None
    result = {
        "name": path.name,
        "data": data_facts,
        "protocol": protocol,
        "tta": tta,
        "input_size": input_size or training_size,
        "provenance": provenance,
        "environment": runs.about(),
        **(_training_cost(target, input_size) if isinstance(target, Run) else {}),
        **_epoch_selection(provenance),
        "heads": {
            head: scores.score(probabilities, samples, train, resamples)
            for head, probabilities in predictions.items()
        },
    }
    if isinstance(target, Run):
        truth = {"rows": samples.rows, "truth": samples.labels, "raters": samples.votes}
        runs.save_predictions(target, truth | predictions, result)
    return result


def _split_like_training(
    splits: protocols.Splits, target: Run | Path, provenance: Mapping
) -> tuple[str, protocols.Splits, dict]:
    """Return the protocol, the splits by that protocol, and a description of the data."""
    data_facts = data.describe(splits)
    protocol = "official" if data_facts["official"] else "as the data is split"
    others = sorted(_protocols(provenance) - {"official"})
    if not others:
        return protocol, splits, data_facts
    if not isinstance(target, Run):
        return protocol + protocols.TRAINED_WITH + ", ".join(others), splits, data_facts
    if target.about.get("data", data_facts) != data_facts:
        raise UserError(
            f"{target.folder} was trained with protocol {others[0]} on other data, so its training "
            "faces could be in the evaluation set. Give the data that it was trained on."
        )
    return others[0], protocols.split(splits, target.config), data_facts


def _exclude(samples: data.Samples, path: Path, split: str) -> tuple[data.Samples, int]:
    """Return the samples without the rows listed in a file, and the number of excluded faces."""
    kept = ~np.isin(samples.rows, _listed_rows(path))
    if kept.all():
        raise UserError(f"{path} lists no face of {split}; give a list for this data.")
    if not kept.any():
        raise UserError(f"{path} excludes every face of {split}; give a shorter list.")
    return samples.select(kept), int((~kept).sum())


def _listed_rows(path: Path) -> list[int]:
    """Return the column `row` of a CSV file; `UserError` if the column is missing."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [int(line["row"]) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} is not a list of faces; give a CSV file with a column 'row'."
        ) from None


def load_or_evaluate(run: Run, root: Path) -> dict:
    """Return the result of a run on `val` without augmentation; evaluate only if none is saved."""
    if run.metrics_file.exists():
        saved = runs.read_json(run.metrics_file)
        expected = (run.about["data"] | {"split": "val"}, "none", run.config.input_size)
        if tuple(saved.get(key) for key in ("data", "tta", "input_size")) == expected:
            return saved
    return evaluate(run.folder, root)


def _configs(provenance: Mapping) -> list[Mapping]:
    """Return the configs of all trained networks, as far as they are known."""
    members = provenance.get("members", [provenance])
    return [member["config"] for member in members if member.get("config")]


def _protocols(provenance: Mapping) -> set[str]:
    return {config.get("protocol", "official") for config in _configs(provenance)}


def _epoch_selection(provenance: Mapping) -> dict[str, str]:
    """Return the split on which an epoch was selected, if any: scores on it are biased upward."""
    is_selected = any(
        config.get("select_epoch") == "best" or config.get("patience")
        for config in _configs(provenance)
    )
    return {"epoch_selected_on": "val"} if is_selected else {}


def _training_cost(run: Run, input_size: int) -> dict[str, dict]:
    """Return the size of a run's network with one head of seven classes, and the training cost.

    The training accuracy is measured on augmented faces in the last epoch.
    """
    config, log = run.config, run.log()
    network = models.build(config.model, channels=config.channels, classes=len(EMOTIONS))
    multiply_adds = models.multiply_adds(network, input_size or config.input_size, config.channels)
    return {
        "network": {"parameters": models.count_parameters(network), "multiply_adds": multiply_adds},
        "training": {
            "epochs": len(log),
            "seconds": sum(entry["seconds"] for entry in log),
            "accuracy": log[-1]["accuracy"] if log else None,
        },
    }


def _provenance(target: Run | Path) -> dict:
    """Return config, seed, data and commit of a run's training, or the card of a model file."""
    if isinstance(target, Run):
        return {"config": published(target.config), "seed": target.config.seed, **target.about}
    from mien.classification.classifier import Classifier

    return dict(Classifier(target, threads=1).spec.card)
