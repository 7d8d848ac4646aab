"""Contact sheets: example faces for each finding of an audit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.io import atomic_file
from mien.lab import duplicates
from mien.lab.audit import (
    VOTES,
    Audit,
    conflicting_pairs,
    first_of_each_group,
    labels_text,
    not_a_face,
    rejected_labels,
)

MAX_EXAMPLES = 48
ENLARGEMENT, MAX_WIDTH, LINE_HEIGHT, GAP, BACKGROUND = 2, 1280, 15, 10, 224


def write(folder: Path, audited: Audit) -> list[Path]:
    """Write one PNG sheet of examples for each finding that has any; their paths."""
    paths = []
    for name, cells in _cells(audited).items():
        if cells:
            paths.append(folder / f"{name}.png")
            with atomic_file.atomic_write(paths[-1]) as temporary:
                _sheet(cells).save(temporary)
    return paths


def _cells(audited: Audit) -> dict[str, list[Image.Image]]:
    samples = audited.samples
    pairs = {"conflicting-labels": first_of_each_group(audited, conflicting_pairs(audited))}
    if audited.near is not None and audited.mirrored is not None:
        pairs["near-duplicates"] = duplicates.pairs_without(
            audited.near, audited.exact, len(samples)
        )
        pairs["mirrored-duplicates"] = audited.mirrored
    faces = {
        "not-a-face": np.flatnonzero(not_a_face(samples)),
        "rejected-labels": rejected_labels(samples),
    }
    return {
        name: [_pair_cell(audited, pair) for pair in _examples(all_pairs)]
        for name, all_pairs in pairs.items()
    } | {
        name: [_face_cell(audited, face) for face in _examples(all_faces)]
        for name, all_faces in faces.items()
    }


def _examples(items: np.ndarray) -> np.ndarray:
    """At most `MAX_EXAMPLES` of the items, evenly from first to last."""
    picked = np.linspace(0, len(items) - 1, min(len(items), MAX_EXAMPLES))
    return items[picked.round().astype(int)]


def _pair_cell(audited: Audit, pair: np.ndarray) -> Image.Image:
    places = " | ".join(_place(audited, face) for face in pair)
    return _cell(audited.samples.faces[pair], labels_text(audited, pair), places)


def _face_cell(audited: Audit, face: int) -> Image.Image:
    votes = audited.samples.votes[face]
    top_vote = f"{VOTES[votes.argmax()]} {votes.max()}/{votes.sum()}"
    caption = f"{labels_text(audited, np.array([face]))} | {top_vote}"
    return _cell(audited.samples.faces[[face]], caption, _place(audited, face))


def _place(audited: Audit, face: int) -> str:
    return f"{audited.names[audited.split[face]]} {audited.samples.rows[face]}"


def _cell(faces: np.ndarray, *captions: str) -> Image.Image:
    """Faces side by side, enlarged, above their captions: (M, H, W) uint8 -> a gray image."""
    separated = np.pad(faces, ((0, 0), (0, 0), (0, 1)), constant_values=BACKGROUND)
    pixels = np.hstack(list(separated)).repeat(ENLARGEMENT, 0).repeat(ENLARGEMENT, 1)
    font = ImageFont.load_default(LINE_HEIGHT - 3)
    width = max(pixels.shape[1], *(round(font.getlength(caption)) for caption in captions))
    cell = Image.new("L", (width, len(pixels) + LINE_HEIGHT * len(captions)), BACKGROUND)
    cell.paste(Image.fromarray(pixels))
    canvas = ImageDraw.Draw(cell)
    for k, caption in enumerate(captions):
        canvas.text((0, len(pixels) + LINE_HEIGHT * k), caption, fill=0, font=font)
    return cell


def _sheet(cells: list[Image.Image]) -> Image.Image:
    """Cells arranged in rows."""
    width = max(cell.width for cell in cells) + GAP
    height = max(cell.height for cell in cells) + GAP
    columns = min(len(cells), MAX_WIDTH // width)
    size = (columns * width + GAP, -(-len(cells) // columns) * height + GAP)
    sheet = Image.new("L", size, BACKGROUND)
    for k, cell in enumerate(cells):
        sheet.paste(cell, (k % columns * width + GAP, k // columns * height + GAP))
    return sheet
