"""Sheets of faces that show what an audit found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.io import atomic_file
from mien.lab import duplicates
from mien.lab.audit import VOTES, Audit, at_odds, disagree, labels_of, not_a_face, one_of_each

SHOWN = 48
ENLARGED, WIDE, LINE, GAP, PAPER = 2, 1280, 15, 10, 224


def write(folder: Path, found: Audit) -> list[Path]:
    """Write sheets of examples as PNG, one for each finding that has any; their paths."""
    paths = []
    for name, cells in _cells(found).items():
        if cells:
            paths.append(folder / f"{name}.png")
            with atomic_file.atomic_write(paths[-1]) as temporary:
                _sheet(cells).save(temporary)
    return paths


def _cells(found: Audit) -> dict[str, list[Image.Image]]:
    samples = found.samples
    pairs = {"twins": one_of_each(found, at_odds(found))}
    if found.near is not None and found.mirrored is not None:
        pairs["near"] = duplicates.without(found.near, found.exact, len(samples))
        pairs["mirrored"] = found.mirrored
    faces = {"not-a-face": np.flatnonzero(not_a_face(samples)), "disagree": disagree(samples)}
    return {
        name: [_pair_cell(found, pair) for pair in _some(many)] for name, many in pairs.items()
    } | {name: [_face_cell(found, face) for face in _some(many)] for name, many in faces.items()}


def _some(things: np.ndarray) -> np.ndarray:
    """As many as a sheet shows, evenly from first to last."""
    picked = np.linspace(0, len(things) - 1, min(len(things), SHOWN))
    return things[picked.round().astype(int)]


def _pair_cell(found: Audit, pair: np.ndarray) -> Image.Image:
    places = " | ".join(_place(found, face) for face in pair)
    return _cell(found.samples.faces[pair], labels_of(found, pair), places)


def _face_cell(found: Audit, face: int) -> Image.Image:
    votes = found.samples.votes[face]
    said = f"{VOTES[votes.argmax()]} {votes.max()}/{votes.sum()}"
    faces = np.array([face])
    return _cell(
        found.samples.faces[faces], f"{labels_of(found, faces)} | {said}", _place(found, face)
    )


def _place(found: Audit, face: int) -> str:
    return f"{found.names[found.split[face]]} {found.samples.rows[face]}"


def _cell(faces: np.ndarray, *captions: str) -> Image.Image:
    """Faces side by side, enlarged, over their captions: (M, H, W) uint8 -> a grey picture."""
    parted = np.pad(faces, ((0, 0), (0, 0), (0, 1)), constant_values=PAPER)
    picture = np.hstack(list(parted)).repeat(ENLARGED, 0).repeat(ENLARGED, 1)
    font = ImageFont.load_default(LINE - 3)
    width = max(picture.shape[1], *(round(font.getlength(caption)) for caption in captions))
    cell = Image.new("L", (width, len(picture) + LINE * len(captions)), PAPER)
    cell.paste(Image.fromarray(picture))
    canvas = ImageDraw.Draw(cell)
    for k, caption in enumerate(captions):
        canvas.text((0, len(picture) + LINE * k), caption, fill=0, font=font)
    return cell


def _sheet(cells: list[Image.Image]) -> Image.Image:
    """Cells in rows."""
    width = max(cell.width for cell in cells) + GAP
    height = max(cell.height for cell in cells) + GAP
    abreast = min(len(cells), WIDE // width)
    size = (abreast * width + GAP, -(-len(cells) // abreast) * height + GAP)
    sheet = Image.new("L", size, PAPER)
    for k, cell in enumerate(cells):
        sheet.paste(cell, (k % abreast * width + GAP, k // abreast * height + GAP))
    return sheet
