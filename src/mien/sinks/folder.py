"""One annotated picture per frame, in a folder, named after its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from mien.errors import UserError
from mien.faces import Face, Frame
from mien.sinks import Write
from mien.sinks._pictures import save


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write `NAME.png` for each still and `NAME-0001.png` for later frames; makes the folder.

    Two sources of the same name do not overwrite each other: the second gets a number.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path}: {error.strerror}.") from None
    used: set[str] = set()
    last: dict[str, str] = {}

    def write(frame: Frame, faces: list[Face]) -> None:
        end = f"-{frame.number:04d}" if frame.number else ""
        if not end or frame.source not in last:
            last[frame.source] = Path(frame.source).stem or "picture"
        name = _free(last[frame.source], end, used)
        if not end:
            last[frame.source] = name
        used.add(f"{name}{end}")
        save(path / f"{name}{end}.png", frame, faces)

    yield write


def _free(stem: str, end: str, used: set[str]) -> str:
    tries = (stem if k == 1 else f"{stem}({k})" for k in count(1))
    return next(name for name in tries if f"{name}{end}" not in used)
