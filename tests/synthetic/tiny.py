"""Small data of FER2013's kind: faces that can be told apart, labels, FER+ votes, in three formats.

Everything is a function of a count and a seed, so that two formats can hold the same faces.
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
"""The warning that tiny data deserve: for `pytest.mark.filterwarnings`."""

USAGES = ("Training", "PublicTest", "PrivateTest")

FERPLUS_HEADER = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
    "unknown", "NF",
)  # fmt: skip

FERPLUS_FROM_OURS = (6, 3, 5, 4, 0, 1, 2, 7, 8, 9)
"""Column of the published file -> place among our vote names."""


@dataclass(frozen=True)
class Table:
    """What a file holds, row by row: Training first, then PublicTest, then PrivateTest."""

    faces: np.ndarray
    labels: np.ndarray
    votes: np.ndarray
    usage: list[str]


def faces(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Smooth noise with a bright bar whose angle says the label: (N,) -> (N, 48, 48) uint8."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48] - 23.5
    made = []
    for label in labels:
        noise = cv2.GaussianBlur(dice.normal(0, 90, (48, 48)), (0, 0), 2)
        turn = np.pi * label / 7
        bar = 90 * (np.abs(x * np.sin(turn) - y * np.cos(turn)) < 5)
        made.append(np.clip(90 + noise + bar, 0, 255).astype(np.uint8))
    return np.array(made)


def votes(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ten votes a face, about seven of them on its label: (N,) -> (N, 10) uint8."""
    dice = np.random.default_rng(seed)
    chances = np.full((len(labels), 10), 0.03)
    chances[np.arange(len(labels)), labels] = 0.73
    return np.array([dice.multinomial(10, row) for row in chances]).astype(np.uint8)


def table(train: int = 28, val: int = 14, test: int = 0, seed: int = 0) -> Table:
    """So many rows of each usage, the seven emotions in turn."""
    usage = [name for name, n in zip(USAGES, (train, val, test), strict=True) for _ in range(n)]
    labels = np.arange(len(usage)) % 7
    return Table(faces(labels, seed), labels, votes(labels, seed), usage)


def samples(count: int = 28, seed: int = 0) -> Samples:
    """The training split of `table`, without a file."""
    made = table(count, 0, 0, seed)
    return Samples(made.faces, made.labels, made.votes, np.arange(count))


def write_csv(folder: Path, made: Table, voted: bool = True) -> Path:
    """`fer2013.csv` in a folder, and `fer2013new.csv` beside it; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "fer2013.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["emotion", "pixels", "Usage"])
        for face, label, usage in zip(made.faces, made.labels, made.usage, strict=True):
            out.writerow([label, " ".join(map(str, face.ravel())), usage])
    if voted:
        write_votes(folder / "fer2013new.csv", made)
    return folder


def write_votes(path: Path, made: Table) -> None:
    """The votes as Barsoum et al. publish them."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["Usage", "Image name", *FERPLUS_HEADER])
        for row, (usage, counts) in enumerate(zip(made.usage, made.votes, strict=True)):
            out.writerow([usage, f"fer{row:07}.png", *counts[list(FERPLUS_FROM_OURS)]])


def write_packed(folder: Path, made: Table) -> Path:
    """`labels.csv` and strips of faces, four abreast, in lossless WebP; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["row", "usage", "emotion", "name", *FERPLUS_HEADER])
        for row, usage in enumerate(made.usage):
            counts = made.votes[row][list(FERPLUS_FROM_OURS)]
            out.writerow([row, usage, made.labels[row], f"fer{row:07}.png", *counts])
    padded = np.pad(made.faces, ((0, -len(made.faces) % 4), (0, 0), (0, 0)))
    strip = padded.reshape(-1, 4, 48, 48).transpose(0, 2, 1, 3).reshape(-1, 192)
    half = strip.shape[0] // 96 * 48
    for number, part in enumerate((strip[:half], strip[half:])):
        if len(part):
            name = f"faces_{number:02}.webp"
            Image.fromarray(part).convert("RGB").save(folder / name, lossless=True, exact=True)
    return folder


def write_images(
    folder: Path,
    made: Table,
    splits: dict[str, str] | None = None,
    names: tuple[str, ...] = EMOTIONS,
    suffix: str = ".png",
) -> Path:
    """One subfolder per split and emotion; `splits` renames usages, "" means no such level."""
    splits = splits or {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    for row, (face, label) in enumerate(zip(made.faces, made.labels, strict=True)):
        place = folder / splits[made.usage[row]] / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place / f"{row:04}{suffix}")
    return folder
