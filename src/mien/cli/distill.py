"""`mien distill`: store teacher logits for distillation."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab
from mien.cli._sections import TRAINING
from mien.cli._shared_options import DATA_OPTION, SET_OPTION
from mien.cli._training_progress import training_progress

SECTION = TRAINING


@click.command()
@click.argument("recipe")
@DATA_OPTION
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Folder for the logits. Existing files are kept.")  # fmt: skip
@click.option("--teacher", "teachers", multiple=True, required=True, metavar="RUN",
              help="Folder of a finished run; can be repeated.")  # fmt: skip
@click.option(
    "--epochs", default=12, show_default=True, help="Number of augmented epochs to store."
)
@SET_OPTION
def distill(
    recipe: str,
    data: Path,
    out: Path,
    teachers: tuple[str, ...],
    epochs: int,
    changes: tuple[str, ...],
) -> None:
    """Prepare distillation: store teacher logits for mien train.

    The logits are those of augmented faces; RECIPE determines the augmentation. A student can then
    be trained on the stored logits without running the teachers. If it is trained for more epochs
    than are stored, the stored epochs are repeated. Faces must have the same size in all epochs, so
    set initial_size=0.

    \b
        mien distill default --data fer2013/ --out logits --teacher runs/a --set initial_size=0
        mien train default --data fer2013/ --out runs/student --set initial_size=0 \\
            --set teachers=runs/a --set teacher_weight=0.9 --set teacher_logits=logits
    """
    configs, teacher_logits = lab("config"), lab("teacher_logits")
    config = configs.parse(recipe, changes)
    with training_progress() as start_progress:
        teacher_logits.store(
            config, data, out, list(teachers), epochs, on_progress=start_progress(recipe, config)
        )
    click.echo(out)
