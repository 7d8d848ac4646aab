"""Train a model."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY
from mien.cli._lab import DATA, is_first, lab, watching

SECTION = LABORATORY


@click.command()
@click.argument("recipe")
@DATA
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="The run folder; an unfinished run there is resumed.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE", help="Change one field.")
@click.option("--device", help="cpu, cuda or mps; by default what there is.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=float("inf"),
              help="End in this time, with as many epochs as it holds.")  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Also log for TensorBoard.")
def train(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    device: str | None,
    minutes: float,
    tensorboard: bool,
) -> None:
    """Train a model; goes on where it was stopped.

    RECIPE is default, tiny, common, or vgg19, sequential or hybrid; these three and each related
    system also as its authors trained it, such as hybrid-paper; or the recipe.json of a run. --set
    changes it (docs/training.md has all fields and models). It is trained on the train split of
    --data.

    \b
        mien train default --data fer2013/ --out runs/default
        mien train default --data fer2013/ --out runs/quick --set epochs=5 --set seed=1
        mien train default --data fer2013/ --out runs/hour --minutes 60
        torchrun --nproc-per-node=8 -m mien train default --data fer2013/ --out runs/fast
    """
    recipes, trainer = lab("config"), lab("train")
    wanted = recipes.parse(recipe, changes)
    with watching() as watch:
        run = trainer.fit(
            wanted,
            data,
            out,
            device=device,
            watch=watch(recipe, wanted),
            tensorboard=tensorboard,
            seconds=60 * minutes,
        )
    if is_first():
        click.echo(run.folder)
