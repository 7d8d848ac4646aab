"""What in a face speaks for its emotion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from mien.analyzer import Analyzer
from mien.classification.occlusion import Explanation
from mien.cli._common import USING, terminal
from mien.errors import UserError
from mien.io import atomic_file

ROWS, COLUMNS = ("above", "middle", "below"), ("left", "centre", "right")

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

SECTION = USING


@click.command()
@click.argument("picture")
@click.option("--emotion", default="", metavar="NAME",
              help="What to ask about; each face's dominant emotion by default.")  # fmt: skip
@click.option("--to", type=click.Path(path_type=Path), metavar="PATH",
              help="Draw it: .png, .jpg or .webp.")  # fmt: skip
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="yunet", show_default=True,
              help="yunet, or whole (the picture is one face).")  # fmt: skip
def explain(picture: str, emotion: str, to: Path | None, model: str, detector: str) -> None:
    """Show what in a face speaks for its emotion, and what against.

    Each place is hidden in turn: what the emotion's share loses by it is what the model saw in
    it. That tells what a model goes by, not why anybody would look like this.

    \b
        mien explain photo.jpg --to explained.png
        mien explain photo.jpg --emotion sad
    """
    if to and to.suffix.lower() not in SUFFIXES:
        raise UserError(f"An explanation is a picture, such as explained.png, not {to}.")
    if to:
        atomic_file.check_not_source(to, picture)
    explanations = Analyzer(model, detector).explain(picture, emotion)
    for explanation in explanations:
        share = explanation.face.emotions[explanation.emotion]
        title = f"face {explanation.face.face_id}: {explanation.emotion} {share:.1%}"
        caption = f"{title}; points that it loses when this is hidden"
        terminal().table(("", *COLUMNS), ninths(explanation), caption)
    if not explanations:
        click.echo(f"{picture}  no face")
    if to:
        _draw(explanations, to)
        click.echo(to)


def ninths(explanation: Explanation) -> list[tuple[str, ...]]:
    """The strongest effect in each ninth of the crop, in points: a row of words for each third."""
    thirds = [np.array_split(rows, 3, axis=1) for rows in np.array_split(explanation.importance, 3)]
    strongest = [[part.flat[np.abs(part).argmax()] for part in row] for row in thirds]
    return [
        (name, *(f"{100 * value:.1f}" for value in row))
        for name, row in zip(ROWS, strongest, strict=True)
    ]


def _draw(explanations: Sequence[Explanation], path: Path) -> None:
    from mien.visualization import saliency  # Pillow's drawing takes a while to import

    with atomic_file.atomic_write(path) as temporary:
        saliency.draw_explanations(explanations).save(temporary)
