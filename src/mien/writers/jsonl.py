"""Write one JSON object per frame, each on its own line."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mien.io.partial_file import open_resumable
from mien.results import ResultWriter


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[ResultWriter]:
    """Open a writer for a `.jsonl` file."""
    return open_resumable(path, resume)
