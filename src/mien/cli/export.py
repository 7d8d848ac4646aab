"""Runs as one model file."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY
from mien.cli._lab import lab

SECTION = LABORATORY


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path),
              help="Calibrate on the val split of this data: of FER2013, PublicTest.")  # fmt: skip
@click.option("--views", default="one", show_default=True,
              help="flip averages a face and its mirror image, at twice the cost.")  # fmt: skip
@click.option("--side", default=0, help="Window that the network sees; as trained by default.")
@click.option("--label-share", type=float, metavar="SHARE",
              help="How much of the label head is mixed into the shares of votes, 0 to 1; by "
                   "default the most that costs 0.006 nats.")  # fmt: skip
@click.option("--storage", default="float32", show_default=True,
              help="float32, float16, int8-weights or int8.")  # fmt: skip
def export(
    folders: tuple[Path, ...],
    out: Path,
    data: Path | None,
    views: str,
    side: int,
    label_share: float | None,
    storage: str,
) -> None:
    """Write a finished run, or several that answer as one, as an .onnx file.

    FOLDERS are runs. Of a run that was taught votes and labels the file has both answers. It is
    written only if ONNX Runtime gives the same answers as torch.

    \b
        mien export runs/default my.onnx --data fer2013/ --storage float16
        mien export runs/a runs/b runs/c best.onnx --views flip --data fer2013/
        mien analyze photo.jpg --model my.onnx:labels
    """
    exporter, runs, datasets = lab("export"), lab("runs"), lab("data")
    val = datasets.split(datasets.load(data), "val") if data else None
    card = exporter.export(
        [runs.open_run(folder) for folder in folders], out, views=views, side=side,
        calibrate=val, label_share=label_share, storage=storage,
    ).card  # fmt: skip
    size = out.stat().st_size
    click.echo(f"{out}  {size / 1e6:.1f} MB" if size > 1e6 else f"{out}  {size / 1e3:.0f} kB")
    if card["label_share"]:
        click.echo(f"  label share {card['label_share']:g}")
    for head, numbers in card["heads"].items():
        for name, value in numbers.get("publictest", numbers.get("val", {})).items():
            plain, crossed = numbers["in_float32"][name], numbers["crossvalidated"][name]
            click.echo(f"  {head} {name:14s} {value:+.4f}  "
                       f"(float32 {plain:+.4f}, crossvalidated {crossed:+.4f})")  # fmt: skip
