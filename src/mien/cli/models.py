"""The packaged models."""

from __future__ import annotations

import click

from mien.classification import weights
from mien.cli._common import USING, terminal

PANEL = USING


@click.command()
def models() -> None:
    """List the packaged models and their numbers.

    \b
        mien models
    """
    from mien.classification.classifier import Classifier

    rows = []
    for name, path in weights.models().items():
        contract = Classifier(path, threads=1).contract
        measured = contract.card.get("publictest")
        found = measured if isinstance(measured, dict) else {}
        numbers = (
            f"{found[key]:.4f}" if key in found else ""
            for key in ("labels", "ferplus", "js_bits", "share_error")
        )
        rows.append((name, f"{path.stat().st_size / 1e6:.1f} MB", len(contract.labels), *numbers))
        click.echo(f"{name} gives {contract.card.get('means', '')}")
    columns = ("PublicTest", "size", "labels", "FER2013", "FER+ A", "divergence", "share error")
    click.echo()
    terminal().table(columns, rows)
