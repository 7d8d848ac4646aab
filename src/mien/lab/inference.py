"""Predictions of a run or a model file for faces, with test-time augmentation.

Networks of runs are computed with torch, because some training machines lack ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import batches, models, runs
from mien.lab.heads import CLASS_NAMES, HEADS, LOGIT_COUNT
from mien.lab.runs import Run
from mien.labels import restrict_labels
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

BATCH_SIZE = 256
"""Number of faces that a model file classifies at once."""

HeadProbabilities = dict[str, np.ndarray]
"""Head -> (N, K) probabilities: (N, 7) for "labels", (N, 8) for "votes"."""


def load_network(run: Run, device: torch.device | str = "cpu") -> nn.Module:
    """Load the trained network of a run, in evaluation mode.

    Raises:
        UserError: The run is unfinished, or its config or weights are damaged.
    """
    config = run.config
    model = models.build(config.model, channels=config.channels, classes=LOGIT_COUNT)
    load_weights(model, run)
    return model.to(device).eval()


def load_weights(model: nn.Module, run: Run) -> None:
    """Load the weights of a run into a network; `UserError` if they are missing or do not fit."""
    if not run.finished:
        raise UserError(
            f"{run.folder} is not finished. Run mien train with the same --out to resume it."
        )
    weights = runs.load_weights(run)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError):
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
        model: A network in evaluation mode.
        faces: (N, H, W) uint8.
        input_size: Width and height of the central crop that the network receives, in pixels.
        channels: Number of input channels, 1 or 3.
        batch: Number of faces per forward pass.

    Returns:
        (N, classes) float32, on the CPU.
    """
    device = next(model.parameters()).device
    logits = []
    for chunk in torch.as_tensor(faces).split(batch):
        pixels = batches.standardize(chunk.to(device))[:, None].expand(-1, channels, -1, -1)
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

    Raises:
        UserError: `tta` is unknown.
    """
    if tta not in TTA_SHIFTS:
        raise unknown_name_error("test-time augmentation", tta, TTA_SHIFTS)
    shifted = [_shift(faces, down, right) for down, right in TTA_SHIFTS[tta]]
    return shifted if tta == "none" else shifted + [version[:, :, ::-1] for version in shifted]


def _shift(faces: np.ndarray, down: int, right: int) -> np.ndarray:
    """Shift faces by whole pixels, and repeat the pixels at the border."""
    rows = np.clip(np.arange(faces.shape[1]) - down, 0, faces.shape[1] - 1)
    columns = np.clip(np.arange(faces.shape[2]) - right, 0, faces.shape[2] - 1)
    return faces[:, rows[:, None], columns]


def predict(
    target: Run | Path, faces: np.ndarray, tta: str = "none", input_size: int = 0
) -> HeadProbabilities:
    """Predict the probabilities of each head, averaged over test-time augmentation.

    Args:
        target: A run, or the path of a model file. A model file without named heads counts as
            head "votes" if its labels include contempt, otherwise as head "labels".
        faces: (N, 48, 48) uint8.
        tta: "none", "flip" or "ten_crop".
        input_size: Input size of a run's network in pixels; 0 is the size it was trained with.

    Returns:
        Head -> (N, K) probabilities, for the heads that a run was trained with or that a model file
        has.

    Raises:
        UserError: A run is unfinished or its files are damaged, the outputs of its network are not
            finite, a model file cannot be read, or `tta` is unknown.
    """
    versions = augment(faces, tta)
    if isinstance(target, Run):
        return _predict_with_run(target, versions, input_size)
    from mien.classification.classifier import Classifier  # imports ONNX Runtime

    classifier = Classifier(target)
    return _mean([_classify(classifier, version) for version in versions])


def _predict_with_run(
    run: Run, versions: Sequence[np.ndarray], input_size: int
) -> HeadProbabilities:
    config = run.config
    compute = partial(
        compute_logits,
        load_network(run, "cuda" if torch.cuda.is_available() else "cpu"),
        input_size=input_size or config.input_size,
        channels=config.channels,
    )
    # Copied, because torch does not support the negative strides of mirrored arrays.
    predictions = _mean([_split_heads(compute(version.copy()), run.heads) for version in versions])
    if not all(np.isfinite(probabilities).all() for probabilities in predictions.values()):
        raise UserError(
            f"{run.weights_file} is damaged: the network's outputs are not finite. Train the run "
            "again."
        )
    return predictions


def _split_heads(logits: Tensor, heads: Sequence[str]) -> HeadProbabilities:
    return {head: logits[:, HEADS[head]].softmax(1).numpy() for head in heads}


def _classify(classifier: Classifier, faces: np.ndarray) -> HeadProbabilities:
    """Classify whole (N, H, W) images as face crops."""
    from mien.classification.model_spec import crop

    spec = classifier.spec
    whole = (0.0, 0.0, float(faces.shape[2]), float(faces.shape[1]))
    rgb = faces[..., None].repeat(3, axis=-1)
    crops = np.stack([crop(face, whole, spec.side, spec.channels) for face in rgb])
    chunks = [crops[k : k + BATCH_SIZE] for k in range(0, len(crops), BATCH_SIZE)]
    if spec.card.get("heads"):
        outputs = [classifier.predict_all_heads(chunk) for chunk in chunks]
        return {head: np.concatenate([output[head] for output in outputs]) for head in outputs[0]}
    probabilities = np.concatenate([classifier(chunk) for chunk in chunks])
    head = "votes" if "contempt" in spec.labels else "labels"
    return {head: restrict_labels(probabilities, spec.labels, CLASS_NAMES[head])}


def _mean(predictions: Sequence[HeadProbabilities]) -> HeadProbabilities:
    heads = predictions[0]
    return {head: np.mean([version[head] for version in predictions], axis=0) for head in heads}
