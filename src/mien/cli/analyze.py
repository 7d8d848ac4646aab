"""Emotions on pictures and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mien.classification import weights
from mien.classification.classifier import load_in_background
from mien.cli._common import USING
from mien.tracking.smoothing import TIME_CONSTANT

SECTION = USING


@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Write .jsonl, .csv, .parquet, .png, .jpg, .mp4, .html, or a folder of "
              "annotated pictures; may be given several times.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per frame.")
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="yunet", show_default=True,
              help="yunet, or whole (the picture is one face).")  # fmt: skip
@click.option("--every", default="1", show_default=True, metavar="N|0.5s",
              help="Of a video or stream, every Nth frame, or one in so many seconds.")  # fmt: skip
@click.option("--from", "start", default="0", metavar="TIME", help="Where to start: 90, 1:30.")
@click.option("--until", default="", metavar="TIME", help="Where to end.")
@click.option("--smooth", default=TIME_CONSTANT, show_default=True, metavar="SECONDS",
              help="Time constant of a video's smoothed emotions; 0 for none.")  # fmt: skip
@click.option("--two-pass", is_flag=True,
              help="Read video files twice, to smooth them without delay.")  # fmt: skip
@click.option("--summary", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Write what each face of a video showed over its time.")  # fmt: skip
@click.option("--timeline", type=click.Path(path_type=Path), metavar="FILE.png",
              help="Draw what each face of a video showed over its time.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Go on where this command was stopped: .jsonl, .csv, .parquet.")  # fmt: skip
@click.option("--contempt", is_flag=True, help="Keep the eighth emotion.")
@click.option("--strict", is_flag=True, help="Exit 3 if a picture, or a frame, shows no face.")
@click.option("--threads", type=click.IntRange(0), default=0,
              help="For one picture; all cores by default.")  # fmt: skip
def analyze(model: str, **asked: Any) -> None:
    """Read the emotions on the faces of pictures and videos.

    INPUTS are pictures, videos, folders, globs, numbered pictures as a video (frames/%04d.png@30),
    - for a picture on standard input, camera:0, or the address of a stream.

    \b
        mien analyze photo.jpg
        mien analyze photo.jpg --to annotated.png
        mien analyze holiday/ "more/*.webp" --to faces.csv
        mien analyze clip.mp4 --to annotated.mp4 --to faces.parquet
        mien analyze talk.mp4 --every 0.5s --from 1:30 --until 2:00 --json
        cat photo.jpg | mien analyze - --json
    """
    classifier = load_in_background(weights.model(model), asked["threads"])
    from mien.cli import _analysis  # while a thread prepares the model
    from mien.cli._options import AnalyzeOptions

    _analysis.run(classifier, AnalyzeOptions(**asked))
