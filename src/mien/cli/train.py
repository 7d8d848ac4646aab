"""`mien train`: train a model."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab
from mien.cli._sections import TRAINING
from mien.cli._shared_options import DATA_OPTION, SET_OPTION
from mien.cli._training_progress import is_main_process, training_progress

SECTION = TRAINING


@click.command()
@click.argument("recipe")
@DATA_OPTION
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Run folder. An unfinished run in it is resumed.")  # fmt: skip
@SET_OPTION
@click.option("--device", help="cpu, cuda or mps (default: cuda if available, otherwise cpu).")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=float("inf"),
              help="Time limit in minutes. If the epochs would take longer, fewer are trained, and "
              "the learning-rate schedule is shortened to match.")  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard to the run folder.")
def train(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    device: str | None,
    minutes: float,
    tensorboard: bool,
) -> None:
    """Train a model, or resume an interrupted training.

    RECIPE is the name of a recipe or the config.json of a run. There are the recipes default, tiny,
    common, vgg19, sequential and hybrid, and others such as vgg19-paper, which have the settings of
    a network's authors, as far as known. docs/training.md lists all recipes, fields and models.
    The training set is the train split of --data, unless the recipe's protocol splits the data
    differently, as in vgg19-paper.

    \b
        mien train default --data fer2013/ --out runs/default
        mien train default --data fer2013/ --out runs/quick --set epochs=5 --set seed=1
        mien train default --data fer2013/ --out runs/hour --minutes 60
        torchrun --nproc-per-node=8 -m mien train default --data fer2013/ --out runs/fast
    """
    configs, trainer = lab("config"), lab("train")
    config = configs.parse(recipe, changes)
    with training_progress() as start_progress:
        run = trainer.fit(
            config,
            data,
            out,
            device=device,
            on_progress=start_progress(recipe, config, 60 * minutes),
            tensorboard=tensorboard,
            seconds=60 * minutes,
        )
    if is_main_process():
        click.echo(run.folder)
