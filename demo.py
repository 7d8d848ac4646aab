"""Analyze a photograph and write an annotated copy; run by `make demo`."""

import sys
from pathlib import Path

import skimage.data
from PIL import Image

from mien.cli import main

folder = Path("demo")
folder.mkdir(exist_ok=True)
photo, annotated = folder / "astronaut.png", folder / "annotated.png"
Image.fromarray(skimage.data.astronaut()).save(photo)
sys.argv = ["mien", "analyze", str(photo), "--to", str(annotated)]
main()
