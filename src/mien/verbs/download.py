"""What mien does not carry."""

from __future__ import annotations

import click

from mien import weights


@click.command()
@click.argument("names", nargs=-1)
def download(names: tuple[str, ...]) -> None:
    """Fetch what mien does not carry: yunet.

    It is the one file that mien ever downloads, checked by its sha256.

    \b
        mien download yunet
        MIEN_YUNET=/some/yunet.onnx mien analyze photo.jpg
    """
    for name in names or weights.REMOTES:
        click.echo(f"{name}: {weights.remote(name)}")
