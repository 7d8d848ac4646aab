"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

MODEL_OPTION = click.option(
    "--model", default="default", show_default=True, metavar="MODEL",
    help="Name listed by `mien models`, or path of an .onnx file; my.onnx:labels selects its label "
    "head.",
)  # fmt: skip
DETECTOR_OPTION = click.option(
    "--detector", default="yunet", show_default=True, metavar="NAME",
    help="Detector: yunet, or whole for images cropped to one face.",
)  # fmt: skip
DATA_OPTION = click.option(
    "--data", type=click.Path(path_type=Path), required=True,
    help="fer2013.csv, its folder, or a folder with train/EMOTION/ and val/EMOTION/.",
)  # fmt: skip
OUT_OPTION = click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Folder for the runs. Finished runs in it are reused.",
)  # fmt: skip
SET_OPTION = click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE",
    help="Change a field of the recipe; can be repeated.",
)  # fmt: skip
