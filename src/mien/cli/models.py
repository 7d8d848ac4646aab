"""The packaged models."""

from __future__ import annotations

import click

from mien.classification import weights
from mien.cli._common import USING, terminal

SECTION = USING


@click.command()
def models() -> None:
    """List the packaged models and their numbers.

    \b
        mien models
    """
    from mien.classification.classifier import Classifier

    rows = []
    for name, file in weights.models().items():
        contract = Classifier(file, threads=1).spec
        measured = contract.card.get("publictest")
        found = measured if isinstance(measured, dict) else {}
        numbers = (
            f"{found[key]:.4f}" if key in found else ""
            for key in ("labels", "ferplus", "kl_nats", "share_error")
        )
        rows.append(
            (name, f"{file.path.stat().st_size / 1e6:.1f} MB", len(contract.labels), *numbers)
        )
        click.echo(f"{name} gives {contract.card.get('means', '')}")
    columns = ("PublicTest", "size", "labels", "FER2013", "FER+ A", "KL, nats", "share error")
    click.echo()
    terminal().table(columns, rows)
