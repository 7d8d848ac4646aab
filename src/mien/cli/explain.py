"""`mien explain`: show which parts of a face the predicted share of an emotion depends on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from mien.analyzer import Analyzer
from mien.classification.occlusion import Explanation
from mien.cli._imports import terminal
from mien.cli._sections import ANALYSIS
from mien.cli._shared_options import DETECTOR_OPTION, MODEL_OPTION
from mien.errors import UserError
from mien.io import atomic_file
from mien.printable import printable

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
"""Names of the rows and columns of the grid in which importance is printed."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

SECTION = ANALYSIS


@click.command()
@click.argument("image")
@click.option("--emotion", default="", metavar="NAME",
              help="The emotion to explain; by default each face's dominant emotion.")  # fmt: skip
@click.option("--to", "output_path", type=click.Path(path_type=Path), metavar="PATH",
              help="Draw the importance maps to an image file: .png, .jpg or .webp.")  # fmt: skip
@MODEL_OPTION
@DETECTOR_OPTION
def explain(image: str, emotion: str, output_path: Path | None, model: str, detector: str) -> None:
    """Show which parts of a face the model's prediction depends on.

    One region of the face after another is blurred, and the drop of the emotion's share is
    measured (occlusion sensitivity). This explains the model, not what the person feels.

    \b
        mien explain photo.jpg --to explained.png
        mien explain photo.jpg --emotion sad
    """
    if output_path and output_path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(
            f"--to {output_path} does not end in {', '.join(IMAGE_SUFFIXES)}; use explained.png."
        )
    if output_path:
        atomic_file.check_not_source(output_path, image)
    explanations = Analyzer(model, detector).explain(image, emotion)
    for explanation in explanations:
        share = explanation.face.emotions[explanation.emotion]
        face = f"face {explanation.face.face_id}: {explanation.emotion} {100 * share:.1f} %"
        caption = f"{face}; drop in percentage points when a region is blurred"
        terminal().print_table(("", *COLUMNS), importance_table(explanation), caption)
    if not explanations:
        click.echo(f"{printable(image)}: no face detected")
    if output_path:
        _draw(explanations, output_path)
        click.echo(output_path)


def importance_table(explanation: Explanation) -> list[tuple[str, ...]]:
    """Return the importance of largest magnitude in each cell of a 3 x 3 grid over the crop.

    Returns:
        Three rows, each with its name and three numbers in percentage points as text.
    """
    grid = [np.array_split(rows, 3, axis=1) for rows in np.array_split(explanation.importance, 3)]
    extrema = [[cell.flat[np.abs(cell).argmax()] for cell in row] for row in grid]
    return [
        (name, *(f"{100 * value:.1f}" for value in row))
        for name, row in zip(ROWS, extrema, strict=True)
    ]


def _draw(explanations: Sequence[Explanation], path: Path) -> None:
    from mien.visualization import importance_map  # here, because ImageDraw is slow to import

    with atomic_file.atomic_write(path) as temporary:
        importance_map.draw_explanations(explanations).save(temporary)
