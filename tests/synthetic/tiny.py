"""Small synthetic datasets in the formats of FER2013: separable faces, labels and FER+ votes.

A table depends only on its counts and seed, and can be written in several formats.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mien.lab.data import Samples
from mien.labels import EMOTIONS

NOT_OFFICIAL = "ignore:.*is not FER2013 as published"
"""Filter of the warning about such data, for `pytest.mark.filterwarnings`."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""Names of the splits in the column `Usage` of `fer2013.csv`."""

FERPLUS_HEADER = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip

VOTE_INDICES = (6, 3, 5, 4, 0, 1, 2, 7, 8, 9)
"""Index in `data.VOTE_NAMES` of each column of `FERPLUS_HEADER`."""


@dataclass(frozen=True)
class Table:
    """The rows of a dataset: Training, then PublicTest, then PrivateTest.

    Attributes:
        faces: (N, 48, 48) uint8.
        labels: (N,) int, indices in `EMOTIONS`.
        votes: (N, 10) uint8 counts, in the order of `data.VOTE_NAMES`.
        usage: N names in `USAGES`.
    """

    faces: np.ndarray
    labels: np.ndarray
    votes: np.ndarray
    usage: list[str]


def faces(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, 48, 48) uint8 smooth noise, each with a bright bar whose angle depends on its label."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48] - 23.5
    pixels = []
    for label in labels:
        noise = cv2.GaussianBlur(rng.normal(0, 90, (48, 48)), (0, 0), 2)
        angle = np.pi * label / 7
        bar = 90 * (np.abs(x * np.sin(angle) - y * np.cos(angle)) < 5)
        pixels.append(np.clip(90 + noise + bar, 0, 255).astype(np.uint8))
    return np.array(pixels)


def votes(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, 10) uint8 counts of ten random votes per face, about seven of them for its label."""
    rng = np.random.default_rng(seed)
    probabilities = np.full((len(labels), 10), 0.03)
    probabilities[np.arange(len(labels)), labels] = 0.73
    return np.array([rng.multinomial(10, row) for row in probabilities]).astype(np.uint8)


def table(train: int = 28, val: int = 14, test: int = 0, seed: int = 0) -> Table:
    """A table with the given numbers of rows per split; the seven emotions alternate."""
    usage = [name for name, n in zip(USAGES, (train, val, test), strict=True) for _ in range(n)]
    labels = np.arange(len(usage)) % 7
    return Table(faces(labels, seed), labels, votes(labels, seed), usage)


def samples(count: int = 28, seed: int = 0) -> Samples:
    """The training split of `table` as `Samples`."""
    data = table(train=count, val=0, test=0, seed=seed)
    return Samples(data.faces, data.labels, data.votes, np.arange(count))


def write_csv(folder: Path, data: Table, with_votes: bool = True) -> Path:
    """Write `fer2013.csv` and, with votes, `fer2013new.csv` to a folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "fer2013.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["emotion", "pixels", "Usage"])
        for face, label, usage in zip(data.faces, data.labels, data.usage, strict=True):
            out.writerow([label, " ".join(map(str, face.ravel())), usage])
    if with_votes:
        write_votes(folder / "fer2013new.csv", data)
    return folder


def write_votes(path: Path, data: Table) -> None:
    """Write the votes in the format of Barsoum et al."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["Usage", "Image name", *FERPLUS_HEADER])
        for row, (usage, counts) in enumerate(zip(data.usage, data.votes, strict=True)):
            out.writerow([usage, f"fer{row:07}.png", *counts[list(VOTE_INDICES)]])


def write_packed(folder: Path, data: Table) -> Path:
    """Write `labels.csv` and one or two lossless WebP files with four faces side by side per row.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["row", "usage", "emotion", "name", *FERPLUS_HEADER])
        for row, usage in enumerate(data.usage):
            counts = data.votes[row][list(VOTE_INDICES)]
            out.writerow([row, usage, data.labels[row], f"fer{row:07}.png", *counts])
    padded = np.pad(data.faces, ((0, -len(data.faces) % 4), (0, 0), (0, 0)))
    grid = padded.reshape(-1, 4, 48, 48).transpose(0, 2, 1, 3).reshape(-1, 192)
    middle = grid.shape[0] // 2 // 48 * 48  # between two rows of faces
    for number, half in enumerate((grid[:middle], grid[middle:])):
        if len(half):
            path = folder / f"faces_{number:02}.webp"
            Image.fromarray(half).convert("RGB").save(path, lossless=True, exact=True)
    return folder


def write_images(
    folder: Path,
    data: Table,
    splits: dict[str, str] | None = None,
    names: tuple[str, ...] = EMOTIONS,
    suffix: str = ".png",
) -> Path:
    """Write an image per face to SPLIT/EMOTION/; return the folder.

    Args:
        folder: The folder.
        data: The table.
        splits: Name in `USAGES` -> name of the split's folder; "" for EMOTION/ without a split.
            None for train, val and test.
        names: Names of the emotions' folders, in the order of `EMOTIONS`.
        suffix: Suffix of the files.
    """
    splits = splits or {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    for row, (face, label) in enumerate(zip(data.faces, data.labels, strict=True)):
        subfolder = folder / splits[data.usage[row]] / names[label]
        subfolder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(subfolder / f"{row:04}{suffix}")
    return folder
