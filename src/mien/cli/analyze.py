"""`mien analyze`: estimate emotion shares for every face in images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mien.classification import weights
from mien.classification.classifier import load_in_background
from mien.cli._sections import ANALYSIS
from mien.cli._shared_options import DETECTOR_OPTION, MODEL_OPTION
from mien.tracking.smoothing import TIME_CONSTANT

SECTION = ANALYSIS


@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("--to", "output_paths", type=click.Path(path_type=Path), multiple=True,
              metavar="PATH",
              help="Output file: .jsonl, .csv or .parquet (records), .png, .jpg or .mp4 (annotated "
              "image or video) or .html (interactive timeline); or a folder for annotated images. "
              "Can be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print one JSON record per image or frame.")  # fmt: skip
@MODEL_OPTION
@DETECTOR_OPTION
@click.option("--every", default="1", show_default=True, metavar="N|0.5s",
              help="Videos, cameras and streams: analyze every Nth frame, or one frame per "
              "time step in seconds.")  # fmt: skip
@click.option("--from", "start", default="0", metavar="TIME",
              help="Videos, cameras and streams: start at this time, in seconds or as "
              "1:30.")  # fmt: skip
@click.option("--until", default="", metavar="TIME",
              help="Videos, cameras and streams: stop at this time, in seconds or as "
              "1:30.")  # fmt: skip
@click.option("--smooth", default=TIME_CONSTANT, show_default=True, metavar="SECONDS",
              help="Videos, cameras and streams: time constant with which shares are smoothed; "
              "0 disables smoothing.")  # fmt: skip
@click.option("--two-pass", is_flag=True,
              help="Video files: read the file twice, so that smoothed shares do "
              "not lag behind.")  # fmt: skip
@click.option("--summary", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Videos, cameras and streams: write the time on screen and the mean shares "
              "of each face.")  # fmt: skip
@click.option("--timeline", type=click.Path(path_type=Path), metavar="FILE.png",
              help="Videos, cameras and streams: draw the shares of each face over "
              "time.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Continue an interrupted run that wrote .jsonl, .csv or .parquet.")  # fmt: skip
@click.option("--contempt", is_flag=True,
              help="Keep contempt as an eighth emotion, if the model predicts it.")  # fmt: skip
@click.option("--strict", is_flag=True,
              help="Exit with code 3 if at least one image or frame has no detected "
              "face.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Number of threads; 0 uses all cores.")  # fmt: skip
def analyze(model: str, **options: Any) -> None:
    """Estimate emotion shares for every face in images and videos.

    INPUTS are images, videos, folders, globs, cameras (camera:0), addresses of network streams,
    and numbered images that form a video (frames/%04d.png@30, at 30 frames per second). The input
    "-" is an image on standard input.

    \b
        mien analyze photo.jpg
        mien analyze photo.jpg --to annotated.png
        mien analyze holiday/ "more/*.webp" --to faces.csv
        mien analyze clip.mp4 --to annotated.mp4 --to faces.parquet
        mien analyze talk.mp4 --every 0.5s --from 1:30 --until 2:00 --json
        cat photo.jpg | mien analyze - --json
    """
    classifier = load_in_background(weights.model(model), options["threads"])
    from mien.cli import _analysis  # imported while another thread loads the model
    from mien.cli._analyze_options import AnalyzeOptions

    _analysis.run(classifier, AnalyzeOptions(**options))
