"""Store what teachers answer, for students to learn from."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY
from mien.cli._lab import CHANGES, DATA, lab, watching

SECTION = LABORATORY


@click.command()
@click.argument("recipe")
@DATA
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Folder for the answers; those already there are kept.")  # fmt: skip
@click.option("--teacher", "teachers", multiple=True, required=True, metavar="RUN",
              help="A trained run folder; may be repeated.")  # fmt: skip
@click.option("--epochs", default=12, show_default=True, help="Augmented epochs to store.")
@CHANGES
def distill(
    recipe: str,
    data: Path,
    out: Path,
    teachers: tuple[str, ...],
    epochs: int,
    changes: tuple[str, ...],
) -> None:
    """Store teachers' answers to augmented training faces.

    RECIPE says how the faces are augmented. Students repeat the stored epochs, and need no teacher:

    \b
        mien distill default --data fer2013/ --out answers --teacher runs/a --set initial_size=0
        mien train default --data fer2013/ --out runs/student --set initial_size=0 \\
            --set teachers=a --set teacher_weight=0.9 --set teacher_logits=answers
    """
    recipes, answers = lab("config"), lab("teacher_logits")
    wanted = recipes.parse(recipe, changes)
    with watching() as watch:
        answers.store(wanted, data, out, list(teachers), epochs, watch=watch(recipe, wanted))
    click.echo(out)
