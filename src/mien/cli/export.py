"""Runs as one model file."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY
from mien.cli._lab import lab

PANEL = LABORATORY


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--head", default="votes", show_default=True,
              help="votes (FER+, eight emotions) or labels (FER2013, seven).")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="Calibrate on the val split of this data: of FER2013, PublicTest.")  # fmt: skip
@click.option("--views", default="one", show_default=True,
              help="flip averages a face and its mirror image, at twice the cost.")  # fmt: skip
@click.option("--side", default=0, help="Window that the network sees; as trained by default.")
@click.option("--sharpen", default=1.0, show_default=True,
              help="Multiply the calibrated logits by this.")  # fmt: skip
@click.option("--storage", default="float32", show_default=True, help="float32, float16 or int8.")
def export(
    folders: tuple[Path, ...],
    out: Path,
    head: str,
    data: Path | None,
    views: str,
    side: int,
    sharpen: float,
    storage: str,
) -> None:
    """Write a finished run, or several that answer as one, as an .onnx file.

    FOLDERS are runs. The file is written only if ONNX Runtime gives the same answers as torch.

    \b
        mien export runs/default my.onnx --data fer2013/ --storage float16
        mien export runs/a runs/b runs/c best.onnx --views flip --data fer2013/
    """
    exporter, runs, datasets = lab("export"), lab("runs"), lab("data")
    val = datasets.split(datasets.load(data), "val") if data else None
    card = exporter.export(
        [runs.open_run(folder) for folder in folders], out, head=head, views=views, side=side,
        calibrate=val, sharpen=sharpen, storage=storage,
    ).card  # fmt: skip
    size = out.stat().st_size
    click.echo(f"{out}  {size / 1e6:.1f} MB" if size > 1e6 else f"{out}  {size / 1e3:.0f} kB")
    for name, value in card.get("publictest", card.get("val", {})).items():
        plain, crossed = card["in_float32"][name], card["crossvalidated"][name]
        click.echo(
            f"  {name:14s} {value:+.4f}  (float32 {plain:+.4f}, crossvalidated {crossed:+.4f})"
        )
