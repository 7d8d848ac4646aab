"""`mien models`: list the available models."""

from __future__ import annotations

import click

from mien.classification import weights
from mien.cli._common import ANALYSIS, terminal

SECTION = ANALYSIS

METRIC_COLUMNS = {
    "fer2013_accuracy": "FER2013",
    "ferplus_accuracy": "FER+ A",
    "kl_nats": "KL, nats",
    "share_calibration_error": "calibration",
}
"""Keys of metrics in the model card, and titles of their columns."""


@click.command()
def models() -> None:
    """List the available models and their metrics on PublicTest.

    FER2013 is the accuracy for FER2013's labels, and FER+ A that for the majority of the raters'
    votes, both 0 to 1. KL is the Kullback-Leibler divergence from the shares of the votes to the
    predicted shares. Calibration is the share calibration error. Lower values of KL and calibration
    are better.

    \b
        mien models
    """
    from mien.classification.classifier import Classifier

    rows = []
    for name, file in weights.models().items():
        spec = Classifier(file, threads=1).spec
        stored = spec.card.get("publictest")
        metrics = stored if isinstance(stored, dict) else {}
        values = (f"{metrics[key]:.4f}" if key in metrics else "" for key in METRIC_COLUMNS)
        rows.append((name, f"{file.path.stat().st_size / 1e6:.1f} MB", len(spec.labels), *values))
        click.echo(f"{name}: {spec.card.get('target', '')}")
    click.echo()
    terminal().table(
        ("model", "size", "emotions", *METRIC_COLUMNS.values()),
        rows,
        "Available models and their metrics on PublicTest",
    )
