"""One annotated picture per frame, in a folder, named after its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    used: dict[str, int] = {}
    last: dict[str, str] = {}

    def write(frame: Frame, faces: list[Face]) -> None:
        stem = Path(frame.source).stem or "picture"
        if frame.number == 0 or frame.source not in last:
            used[stem] = used.get(stem, 0) + 1
            last[frame.source] = stem if used[stem] == 1 else f"{stem}({used[stem]})"
        end = f"-{frame.number:04d}" if frame.number else ""
        save(path / f"{last[frame.source]}{end}.png", frame, faces)

    yield write
