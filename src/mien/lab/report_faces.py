"""Figures of faces for a run's page: its most confident errors, and saliency maps.

Unlike the rest of a report these need the data and, for saliency maps, the network.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from mien.errors import UserError
from mien.lab import batches, data, evaluate, explain, figures, protocols, runs, tables
from mien.lab.data import Samples
from mien.lab.heads import HEADS, LABELS
from mien.lab.page import FigureBlock
from mien.lab.runs import Run
from mien.labels import EMOTIONS


def face_figures(run: Run, root: Path, count: int = 14) -> list[FigureBlock]:
    """The most confident errors of a run, and its saliency maps.

    Args:
        run: an evaluated run.
        root: the dataset.
        count: of errors.

    Raises:
        UserError: the run's predictions are for other faces than those in `root`.
    """
    predictions, config = runs.load_predictions(run), run.config
    splits = protocols.split(data.load(root), config)
    samples = data.split(splits, tables.load_result(run)["data"]["split"])
    samples = samples.select(np.isin(samples.rows, predictions["rows"]))  # without excluded faces
    ours, theirs = (samples.rows, samples.labels), (predictions["rows"], predictions["truth"])
    if not all(map(np.array_equal, ours, theirs)):
        raise UserError(
            f"The predictions in {run.folder} are for other data than {root}. Evaluate it again: "
            f"mien evaluate {run.folder} --data {root}"
        )
    head = "labels" if "labels" in predictions else "votes"
    errors = confident_errors(run, samples, predictions[head], head, count)
    return [errors, *saliency_maps(run, samples, predictions[head], head)]


def confident_errors(
    run: Run, samples: Samples, probabilities: np.ndarray, head: str, count: int = 14
) -> FigureBlock:
    """The errors of a head with the highest confidence; probabilities: (N, K)."""
    labels, predicted, confidence = LABELS[head], probabilities.argmax(1), probabilities.max(1)
    truth = samples.labels if head == "labels" else data.majority(samples.votes)
    wrong = np.flatnonzero((predicted != truth) & (truth >= 0))
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    captions = [f"{labels[predicted[k]]} {confidence[k]:.2f}\n({labels[truth[k]]})" for k in worst]
    return FigureBlock(
        f"{tables.run_name(run)}-errors",
        "The most confident errors: predicted label, probability, (true label).",
        figures.face_grid(samples.faces[worst], captions),
    )


def saliency_maps(
    run: Run, samples: Samples, probabilities: np.ndarray, head: str
) -> list[FigureBlock]:
    """Grad-CAM for the predicted label and, where the network has it, spatial attention."""
    shown, predicted = examples(samples), probabilities.argmax(1)
    faces, model = samples.faces[shown], evaluate.load_network(run)
    input_size = tables.load_result(run)["input_size"]  # that of the predictions
    options = {"input_size": input_size, "channels": run.config.channels}
    classes = predicted[shown] + HEADS[head].start
    maps = {
        "grad-cam": (
            "Grad-CAM: the brighter, the more a place supports the prediction.",
            explain.grad_cam(model, faces, classes, **options),
        )
    }
    for k, layer in enumerate(explain.spatial_attention(model, faces, **options), 1):
        maps[f"attention-{k}"] = f"Spatial attention, layer {k}: the brighter, the more.", layer
    captions = [f"{LABELS[head][predicted[k]]}\n({EMOTIONS[samples.labels[k]]})" for k in shown]
    crops = batches.center_crop(torch.as_tensor(faces[:, None]), input_size)[:, 0].numpy()
    return [
        FigureBlock(
            f"{tables.run_name(run)}-{kind}",
            f"{caption} Predicted label, (true label).",
            figures.face_grid(figures.overlay_maps(crops, values), captions),
        )
        for kind, (caption, values) in maps.items()
    ]


def examples(samples: Samples, per_emotion: int = 2) -> np.ndarray:
    """Indices of the first faces of each emotion, emotions in turn: (7 * per_emotion,) or fewer."""
    first = [np.flatnonzero(samples.labels == k)[:per_emotion] for k in range(len(EMOTIONS))]
    return np.array([k for row in zip_longest(*first) for k in row if k is not None], int)


def sample_faces(samples: Samples, per_emotion: int = 3) -> FigureBlock:
    """The paper's Figure 1: faces of each emotion with their labels."""
    shown = examples(samples, per_emotion)
    labels = [EMOTIONS[k] for k in samples.labels[shown]]
    figure = figures.face_grid(samples.faces[shown], labels)
    return FigureBlock("faces", "Faces with their labels.", figure)
