"""One JSON object per frame and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.faces import Face, Frame, record
from mien.sinks import Write
from mien.sinks._lines import written


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write the frame records to a `.jsonl` file."""
    with written(path) as add:

        def write(frame: Frame, faces: list[Face]) -> None:
            add(json.dumps(record(frame, faces), ensure_ascii=False) + "\n")

        yield write
