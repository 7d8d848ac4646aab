"""Paths of the repository and of the optional data beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

SHARED = ROOT.parent / "shared"
"""Contains FER2013 (`fer2013/`) if available; tests that need it are skipped otherwise."""
