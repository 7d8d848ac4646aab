"""`mien models`: list the available models."""

from __future__ import annotations

import click

from mien.classification import weights
from mien.cli._imports import terminal
from mien.cli._sections import ANALYSIS

SECTION = ANALYSIS

METRIC_COLUMNS = {
    "fer2013_accuracy": "FER2013",
    "ferplus_accuracy": "FER+",
    "kl_nats": "KL, nats",
    "share_calibration_error": "calibration",
}
"""Key of a metric in the model card -> title of its column."""


@click.command()
def models() -> None:
    """List the available models and their metrics on PublicTest.

    PublicTest is the validation split of FER2013.

    \b
    FER2013      accuracy on FER2013's labels, 0 to 1
    FER+         accuracy on the majority of the raters' votes, 0 to 1
    KL, nats     mean KL divergence KL(votes || prediction); lower is better
    calibration  absolute difference between mean predicted share and mean vote
                 share, averaged over 15 bins, 0 to 1; lower is better

    \b
        mien models
    """
    from mien.classification.classifier import Classifier

    rows = []
    for name, file in weights.models().items():
        spec = Classifier(file, threads=1).spec
        card_metrics = spec.card.get("publictest")
        metrics = card_metrics if isinstance(card_metrics, dict) else {}
        values = (f"{metrics[key]:.4f}" if key in metrics else "" for key in METRIC_COLUMNS)
        rows.append((name, f"{file.path.stat().st_size / 1e6:.1f} MB", len(spec.labels), *values))
        click.echo(f"{name}: {spec.card.get('target', '')}")
    click.echo()
    terminal().print_table(
        ("model", "size", "emotions", *METRIC_COLUMNS.values()),
        rows,
        "Available models and their metrics on PublicTest",
    )
