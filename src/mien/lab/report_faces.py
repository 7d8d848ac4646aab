"""Figures of faces for the report about a run: its most confident errors, and saliency maps.

Unlike the rest of the report, these figures need the dataset; saliency maps also need the network.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from mien.errors import UserError
from mien.lab import batches, data, explain, figures, inference, protocols, runs, tables
from mien.lab.data import Samples
from mien.lab.heads import CLASS_NAMES, HEADS
from mien.lab.page import FigureBlock
from mien.lab.runs import Run
from mien.labels import EMOTIONS


def face_figures(run: Run, root: Path, count: int = 14) -> list[FigureBlock]:
    """Draw the most confident errors of a run, and saliency maps of a few faces.

    Args:
        run: A finished and evaluated run.
        root: Path of the dataset.
        count: Maximum number of errors.

    Raises:
        UserError: The predictions of the run are not for the faces in `root`.
    """
    predictions, config = runs.load_predictions(run), run.config
    splits = protocols.split(data.load(root), config)
    samples = data.split(splits, run.result()["data"]["split"])
    # The evaluation may have excluded faces.
    samples = samples.select(np.isin(samples.rows, predictions["rows"]))
    is_same = np.array_equal(samples.rows, predictions["rows"]) and np.array_equal(
        samples.labels, predictions["truth"]
    )
    if not is_same:
        raise UserError(
            f"The predictions in {run.folder} are for other data than {root}. Evaluate the run "
            f"again: mien evaluate {run.folder} --data {root}"
        )
    head = "labels" if "labels" in predictions else "votes"
    errors = confident_errors(run, samples, predictions[head], head, count)
    return [errors, *saliency_maps(run, samples, predictions[head], head)]


def confident_errors(
    run: Run, samples: Samples, probabilities: np.ndarray, head: str, count: int = 14
) -> FigureBlock:
    """Draw the most confident errors of a head, given its (N, K) probabilities."""
    labels, predicted, confidence = CLASS_NAMES[head], probabilities.argmax(1), probabilities.max(1)
    truth = samples.labels if head == "labels" else data.majority(samples.votes)
    wrong = np.flatnonzero((predicted != truth) & (truth >= 0))
    selected = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    captions = [
        f"{labels[predicted[k]]} {confidence[k]:.2f}\n({labels[truth[k]]})" for k in selected
    ]
    return FigureBlock(
        f"{tables.run_name(run)}-errors",
        "The most confident errors, with predicted label, probability and (true label).",
        figures.face_grid(samples.faces[selected], captions),
    )


def saliency_maps(
    run: Run, samples: Samples, probabilities: np.ndarray, head: str
) -> list[FigureBlock]:
    """Draw Grad-CAM of the predicted label, and spatial attention if the network has it.

    Args:
        run: A finished and evaluated run.
        samples: The N evaluated faces, of which the `examples` are drawn.
        probabilities: (N, K) predictions of the head.
        head: "labels" or "votes".
    """
    indices, predicted = examples(samples), probabilities.argmax(1)
    faces, model = samples.faces[indices], inference.load_network(run)
    # The input size of the evaluation, which may differ from that of the training.
    input_size = run.result()["input_size"]
    options = {"input_size": input_size, "channels": run.config.channels}
    classes = predicted[indices] + HEADS[head].start
    maps = {
        "grad-cam": (
            "Grad-CAM. Bright positions contribute most to the predicted label.",
            explain.grad_cam(model, faces, classes, **options),
        )
    }
    for k, layer in enumerate(explain.spatial_attention(model, faces, **options), 1):
        maps[f"attention-{k}"] = (
            f"Spatial attention, layer {k}. Bright positions have the highest weight.",
            layer,
        )
    captions = [
        f"{CLASS_NAMES[head][predicted[k]]}\n({EMOTIONS[samples.labels[k]]})" for k in indices
    ]
    crops = batches.center_crop(torch.as_tensor(faces[:, None]), input_size)[:, 0].numpy()
    return [
        FigureBlock(
            f"{tables.run_name(run)}-{kind}",
            f"{caption} Below each face: predicted label and (true label).",
            figures.face_grid(figures.overlay_maps(crops, values), captions),
        )
        for kind, (caption, values) in maps.items()
    ]


def examples(samples: Samples, per_emotion: int = 2) -> np.ndarray:
    """Return the indices of the first faces of each emotion, alternating between emotions."""
    first = [np.flatnonzero(samples.labels == k)[:per_emotion] for k in range(len(EMOTIONS))]
    alternating = (index for indices in zip_longest(*first) for index in indices)
    return np.array([index for index in alternating if index is not None], int)


def sample_faces(samples: Samples, per_emotion: int = 3) -> FigureBlock:
    """Draw a few faces of each emotion with their labels, as in Figure 1 of the paper."""
    indices = examples(samples, per_emotion)
    labels = [EMOTIONS[k] for k in samples.labels[indices]]
    figure = figures.face_grid(samples.faces[indices], labels)
    return FigureBlock("faces", "Faces with their labels.", figure)
