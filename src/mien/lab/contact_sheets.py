"""Contact sheets of an audit: one image per finding, with example faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.io import atomic_file
from mien.lab import duplicates
from mien.lab.audit import (
    VOTE_CLASSES,
    Audit,
    conflicting_pairs,
    faces_with_rejected_label,
    first_pair_of_each_group,
    is_rated_not_a_face,
    labels_text,
)

MAX_EXAMPLES = 48
"""Maximum number of examples on a sheet."""

ENLARGEMENT = 2
"""Factor by which the faces are enlarged."""

BACKGROUND_GRAY = 224

MAX_SHEET_WIDTH, LINE_HEIGHT, CELL_GAP = 1280, 15, 10
"""Sizes in pixels: width of all cells in a row, height of a caption, distance between cells."""


def write(folder: Path, audit: Audit) -> list[Path]:
    """Write a PNG file for each finding that has examples, and return the paths of the files."""
    paths = []
    for name, cells in _cells_by_finding(audit).items():
        if cells:
            paths.append(folder / f"{name}.png")
            with atomic_file.atomic_write(paths[-1]) as temporary:
                _sheet(cells).save(temporary)
    return paths


def _cells_by_finding(audit: Audit) -> dict[str, list[Image.Image]]:
    samples = audit.samples
    pairs = {"conflicting-labels": first_pair_of_each_group(audit, conflicting_pairs(audit))}
    if audit.near_pairs is not None and audit.mirrored_pairs is not None:
        pairs["near-duplicates"] = duplicates.exclude_pairs(
            audit.near_pairs, audit.exact_pairs, len(samples)
        )
        pairs["mirrored-duplicates"] = audit.mirrored_pairs
    face_indices = {
        "not-a-face": np.flatnonzero(is_rated_not_a_face(samples)),
        "rejected-labels": faces_with_rejected_label(samples),
    }
    return {
        name: [_pair_cell(audit, pair) for pair in _examples(all_pairs)]
        for name, all_pairs in pairs.items()
    } | {
        name: [_face_cell(audit, face_index) for face_index in _examples(all_indices)]
        for name, all_indices in face_indices.items()
    }


def _examples(items: np.ndarray) -> np.ndarray:
    """Return at most `MAX_EXAMPLES` of the items, evenly spaced."""
    indices = np.linspace(0, len(items) - 1, min(len(items), MAX_EXAMPLES))
    return items[indices.round().astype(int)]


def _pair_cell(audit: Audit, pair: np.ndarray) -> Image.Image:
    origins = " | ".join(_split_and_row(audit, face_index) for face_index in pair)
    return _cell(audit.samples.faces[pair], labels_text(audit, pair), origins)


def _face_cell(audit: Audit, face_index: int) -> Image.Image:
    votes = audit.samples.votes[face_index]
    top_vote = f"{VOTE_CLASSES[votes.argmax()]} {votes.max()}/{votes.sum()}"
    caption = f"{labels_text(audit, np.array([face_index]))} | {top_vote}"
    return _cell(audit.samples.faces[[face_index]], caption, _split_and_row(audit, face_index))


def _split_and_row(audit: Audit, face_index: int) -> str:
    split = audit.split_names[audit.split_indices[face_index]]
    return f"{split} {audit.samples.rows[face_index]}"


def _cell(faces: np.ndarray, *captions: str) -> Image.Image:
    """Draw (M, H, W) uint8 faces side by side, enlarged, with captions below."""
    separated = np.pad(faces, ((0, 0), (0, 0), (0, 1)), constant_values=BACKGROUND_GRAY)
    pixels = np.hstack(list(separated)).repeat(ENLARGEMENT, 0).repeat(ENLARGEMENT, 1)
    font = ImageFont.load_default(LINE_HEIGHT - 3)
    width = max(pixels.shape[1], *(round(font.getlength(caption)) for caption in captions))
    cell = Image.new("L", (width, len(pixels) + LINE_HEIGHT * len(captions)), BACKGROUND_GRAY)
    cell.paste(Image.fromarray(pixels))
    canvas = ImageDraw.Draw(cell)
    for k, caption in enumerate(captions):
        canvas.text((0, len(pixels) + LINE_HEIGHT * k), caption, fill=0, font=font)
    return cell


def _sheet(cells: list[Image.Image]) -> Image.Image:
    """Arrange cells in a grid."""
    cell_width = max(cell.width for cell in cells) + CELL_GAP
    cell_height = max(cell.height for cell in cells) + CELL_GAP
    columns = min(len(cells), MAX_SHEET_WIDTH // cell_width)
    rows = -(-len(cells) // columns)
    size = (columns * cell_width + CELL_GAP, rows * cell_height + CELL_GAP)
    sheet = Image.new("L", size, BACKGROUND_GRAY)
    for k, cell in enumerate(cells):
        row, column = divmod(k, columns)
        sheet.paste(cell, (column * cell_width + CELL_GAP, row * cell_height + CELL_GAP))
    return sheet
