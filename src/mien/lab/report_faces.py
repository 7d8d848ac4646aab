"""Sheets of faces for a run's page: its most confident mistakes, and where the network looks.

Unlike the rest of a report, these need the data and, for where it looks, the network.
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
from mien.lab.page import Picture
from mien.lab.runs import Run
from mien.labels import EMOTIONS


def faces(run: Run, root: Path, count: int = 14) -> list[Picture]:
    """Sheets of faces: the most confident mistakes, and where the network looks.

    Raises `UserError` if the predictions in the run folder are of other faces than `root`'s.
    """
    said, config = runs.load_predictions(run), run.config
    splits = protocols.divide(data.load(root), config)
    samples = data.split(splits, tables.measured(run)["data"]["split"])
    samples = samples.take(np.isin(samples.rows, said["rows"]))  # some may have been left out
    ours, theirs = (samples.rows, samples.labels), (said["rows"], said["truth"])
    if not all(map(np.array_equal, ours, theirs)):
        raise UserError(f"The predictions in {run.folder} are of other data than {root}.")
    head = "labels" if "labels" in said else "votes"
    return [mistakes(run, samples, said[head], head, count), *looks(run, samples, said[head], head)]


def mistakes(run: Run, samples: Samples, shares: np.ndarray, head: str, count: int = 14) -> Picture:
    """The most confident mistakes of a head; shares: (N, K), what it said of each face."""
    labels, guess, sure = LABELS[head], shares.argmax(1), shares.max(1)
    truth = samples.labels if head == "labels" else data.majority(samples.votes)
    wrong = np.flatnonzero((guess != truth) & (truth >= 0))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:count]
    captions = [f"{labels[guess[k]]} {sure[k]:.2f}\n({labels[truth[k]]})" for k in worst]
    return Picture(
        f"{tables.name_of(run)}-mistakes",
        "The most confident mistakes: the answer with its probability, and (the label).",
        figures.sheet(samples.faces[worst], captions),
    )


def looks(run: Run, samples: Samples, shares: np.ndarray, head: str) -> list[Picture]:
    """Where the network looks: Grad-CAM for its answer and, if it has any, spatial attention."""
    config, shown, guess = run.config, examples(samples), shares.argmax(1)
    faces, model = samples.faces[shown], evaluate.restore(run)
    side = tables.measured(run)["window"]  # with which it gave the answers
    window = {"side": side, "channels": config.channels}
    maps = {
        "grad-cam": (
            "What speaks for the answer (Grad-CAM), brightest most.",
            explain.grad_cam(model, faces, guess[shown] + HEADS[head].start, **window),
        )
    }
    for k, layer in enumerate(explain.attention(model, faces, **window), 1):
        maps[f"attention-{k}"] = f"Spatial attention, layer {k}, brightest most.", layer
    captions = [f"{LABELS[head][guess[k]]}\n({EMOTIONS[samples.labels[k]]})" for k in shown]
    part = batches.window(torch.as_tensor(faces[:, None]), side)[:, 0].numpy()
    return [
        Picture(
            f"{tables.name_of(run)}-{kind}",
            f"{caption} Answer, (label).",
            figures.sheet(figures.overlaid(part, found), captions),
        )
        for kind, (caption, found) in maps.items()
    ]


def examples(samples: Samples, each: int = 2) -> np.ndarray:
    """Places of the first faces of each emotion, one of each in turn: (7 * each,) or fewer."""
    first = [np.flatnonzero(samples.labels == k)[:each] for k in range(len(EMOTIONS))]
    return np.array([k for row in zip_longest(*first) for k in row if k is not None], int)


def sample_sheet(samples: Samples, each: int = 3) -> Picture:
    """The paper's Figure 1: some faces of each emotion, with their labels."""
    shown = examples(samples, each)
    figure = figures.sheet(samples.faces[shown], [EMOTIONS[k] for k in samples.labels[shown]])
    return Picture("faces", "Faces with their labels.", figure)
