"""Where the repository lies, and the data that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

SHARED = ROOT.parent / "shared"
"""Holds FER2013 (`fer2013/`) where there is one; tests that need it are skipped elsewhere."""
