"""Command: run an ablation study."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import TRAINING, terminal
from mien.cli._lab import CHANGES, DATA, OUT, lab, training_progress
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("recipe")
@DATA
@OUT
@CHANGES
@click.option("--change", "cases", multiple=True, metavar="'NAME: FIELD=VALUE ...'",
              help="Changes to compare with the baseline; can be repeated (default: the usual "
              "ablations of the recipe and its network).")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Number of seeds per case, starting with the seed of the recipe.")  # fmt: skip
def ablate(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    cases: tuple[str, ...],
    seeds: int,
) -> None:
    """Run an ablation study: train a baseline and changed versions, and print the differences.

    An interrupted study is resumed. Several processes can share the same --out.

    \b
        mien ablate hybrid --set model=hybrid-slim --data fer2013/ --out runs/ablation
        mien ablate default --change "no flip: flip=no" --data fer2013/ --out runs/flip
    """
    config = lab("config").parse(recipe, changes)
    ablation = lab("ablation")
    named = [_case(case) for case in cases]
    if len(dict(named)) < len(named):
        raise UserError("Two cases of --change have the same name. Rename one.")
    selected = dict(named) or ablation.default_changes(config)
    all_seeds = range(config.seed, config.seed + seeds)
    with training_progress() as on_progress:
        result = ablation.ablate(config, data, out, selected, all_seeds, on_progress)
    rows = []
    for name, case in result["cases"].items():
        accuracy, difference = case["seed_statistics"]["accuracy"], case["difference_to_baseline"]
        rows.append(
            (name, case["parameters"], accuracy["mean"], accuracy["sd"], *difference.values())
        )
    columns = ("case", "parameters", "accuracy", "sd", "difference", "low", "high")
    terminal().table(columns, rows, f"{recipe}: ablation")
    click.echo(out / "ablation.json")


def _case(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, changes = text.partition(":")
    if not colon or not changes.split():
        raise UserError(f"{text!r} has no changes. Write 'NAME: FIELD=VALUE', such as "
                        "'no dropout: dropout=0'.")  # fmt: skip
    return name.strip(), tuple(changes.split())
