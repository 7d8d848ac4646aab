"""`mien export`: export runs to a model file."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab
from mien.cli._sections import TRAINING

SECTION = TRAINING


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path),
              help="Dataset for calibration; its val split is used (FER2013: "
              "PublicTest).")  # fmt: skip
@click.option("--tta", default="none", show_default=True,
              help="Test-time augmentation: none, or flip, which doubles the inference "
              "time.")  # fmt: skip
@click.option("--input-size", default=0, metavar="PIXELS",
              help="Input size of the network (default: the size it was trained "
              "with).")  # fmt: skip
@click.option("--label-head-weight", type=float, metavar="WEIGHT",
              help="Weight of the label head in the output of the vote head, 0 to 1. Adding "
              "it improves results on images from other sources. Default with --data: the largest "
              "weight up to 0.3 that raises the KL divergence from the votes by at most 0.006 "
              "nats. Default without --data: 0.")  # fmt: skip
@click.option("--precision", default="float32", show_default=True,
              help="Data type in the file: float32, float16, int8-weights (8-bit weights) or int8 "
              "(8-bit weights and activations; needs --data).")  # fmt: skip
def export(
    runs: tuple[Path, ...],
    out: Path,
    data: Path | None,
    tta: str,
    input_size: int,
    label_head_weight: float | None,
    precision: str,
) -> None:
    """Export a finished run or an ensemble to an .onnx file.

    RUNS are run folders; several form an ensemble. The .onnx file OUT has a vote head (shares of
    raters), a label head (FER2013's labels) or both, depending on what the runs were trained on.
    Other commands use the label head of such a file if their model is given as OUT:labels. The file
    is written only if ONNX Runtime and torch agree within a tolerance that depends on --precision.

    \b
        mien export runs/default my.onnx --data fer2013/ --precision float16
        mien export runs/a runs/b runs/c best.onnx --tta flip --data fer2013/
        mien analyze photo.jpg --model my.onnx:labels
    """
    exporter, run_folders, datasets = lab("export"), lab("runs"), lab("data")
    val = datasets.split(datasets.load(data), "val") if data else None
    card = exporter.export(
        [run_folders.open_run(folder) for folder in runs], out, tta=tta, input_size=input_size,
        calibration_samples=val, label_head_weight=label_head_weight, precision=precision,
    ).card  # fmt: skip
    size = out.stat().st_size
    click.echo(f"{out}  {size / 1e6:.1f} MB" if size > 1e6 else f"{out}  {size / 1e3:.0f} kB")
    if card["label_head_weight"]:
        click.echo(f"  label-head weight {card['label_head_weight']:g}")
    for head, metrics in card["heads"].items():
        # The metrics are named after their evaluation set: PublicTest, or the val split of other
        # data. Without --data, there are none.
        for metric, value in metrics.get("publictest", metrics.get("val", {})).items():
            float32 = metrics["float32"][metric]
            cross_validated = metrics["cross_validated"][metric]
            click.echo(f"  {head} {metric:23s} {value:+.4f}  (float32 {float32:+.4f}, "
                       f"cross-validated {cross_validated:+.4f})")  # fmt: skip
