"""Train as it is and without each part."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY, terminal
from mien.cli._lab import CHANGES, DATA, OUT, lab, watching
from mien.errors import UserError

SECTION = LABORATORY


@click.command()
@click.argument("recipe")
@DATA
@OUT
@CHANGES
@click.option("--change", "cases", multiple=True, metavar="'NAME: FIELD=VALUE ...'",
              help="A case to train beside the recipe as it is; several times. By default, all "
              "that the recipe and its network can do without.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True,
              help="Train each so many times, from the recipe's seed on.")  # fmt: skip
def ablate(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    cases: tuple[str, ...],
    seeds: int,
) -> None:
    """Train as it is and without each part; print what each is worth.

    Goes on where it was stopped; several may work on the same --out.

    \b
        mien ablate hybrid --set model=hybrid-slim --data fer2013/ --out runs/ablation
        mien ablate default --change "no flip: flip=no" --data fer2013/ --out runs/flip
    """
    wanted = lab("config").parse(recipe, changes)
    trials = lab("trials")
    named = [_case(case) for case in cases]
    if len(dict(named)) < len(named):
        raise UserError("Two cases of --change have the same name.")
    asked = dict(named) or trials.parts(wanted)
    several = range(wanted.seed, wanted.seed + seeds)
    with watching() as watch:
        result = trials.ablate(wanted, data, out, asked, several, watch)
    rows = []
    for name, case in result["cases"].items():
        accuracy, gain = case["seed_statistics"]["accuracy"], case["difference_to_baseline"]
        rows.append((name, case["parameters"], accuracy["mean"], accuracy["sd"], *gain.values()))
    columns = ("case", "parameters", "accuracy", "sd", "change", "low", "high")
    terminal().table(columns, rows, f"{recipe}: the same faces, with and without")
    click.echo(out / "ablation.json")


def _case(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, changes = text.partition(":")
    if not colon or not changes.split():
        raise UserError(f"{text!r} changes nothing; write 'NAME: FIELD=VALUE', as in "
                        "'no dropout: dropout=0'.")  # fmt: skip
    return name.strip(), tuple(changes.split())
