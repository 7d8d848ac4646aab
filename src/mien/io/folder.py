"""List the images and videos in a folder, and say what was left out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mien.io.file_kind import HEIF_SUFFIXES, kind_in_folder, suffix_of, supports_heif
from mien.results import SourceKind

SYSTEM_FILES = frozenset(("desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"))
SYSTEM_FOLDERS = frozenset(("$recycle.bin", "@eadir", "__macosx", "system volume information"))
"""Names, in lower case, that operating systems and network drives create; skipped, like names that
begin with a period."""

MAX_SUFFIXES, MAX_FOLDERS = 5, 3
"""How many suffixes and folders a message names."""

HEIF_HINT = "in mien's folder, run pip install '.[heic]' to read .heic files"


@dataclass(slots=True)
class Folder:
    """The content of a folder and its subfolders.

    Attributes:
        files: Path and kind of each image and video, sorted by path.
        unread: Number of other files by suffix.
        skipped_folders: Subfolders that were not read, with the reason.
    """

    files: list[tuple[str, SourceKind]] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    skipped_folders: list[tuple[str, str]] = field(default_factory=list)

    @property
    def left_out(self) -> str:
        """What was not read, as sentences without the last period; empty if all was read."""
        sentences = [_unread_files(self.unread)] if self.unread else []
        if self.skipped_folders:
            sentences.append(_skipped_folders(self.skipped_folders))
        if not supports_heif() and HEIF_SUFFIXES & self.unread.keys():
            sentences.append(HEIF_HINT[0].upper() + HEIF_HINT[1:])
        return ". ".join(sentences)


def read_folder(path: str) -> Folder:
    """List a folder with its subfolders; hidden and system files are skipped.

    Raises:
        OSError: The folder cannot be read; a subfolder that cannot be read is skipped.
    """
    folder, pending = Folder(), [path]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                subfolders = [e.path for e in entries if _add(folder, e)]
        except OSError as error:
            if current == path:
                raise
            folder.skipped_folders.append((current, error.strerror or "it cannot be read"))
            continue
        pending += subfolders
    folder.files.sort()
    folder.skipped_folders.sort()
    return folder


def _add(folder: Folder, entry: os.DirEntry[str]) -> bool:
    """Add a file to the folder's content; whether the entry is a subfolder to read."""
    name = entry.name.lower()
    if entry.is_dir():
        is_skipped = name.startswith(".") or name in SYSTEM_FOLDERS
        if not is_skipped and entry.is_symlink():
            folder.skipped_folders.append((entry.path, "a link"))
        return not is_skipped and not entry.is_symlink()
    if not name.startswith(".") and name not in SYSTEM_FILES:
        # A broken link may be an image: its error is reported when it is read.
        is_file = entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
        if is_file and (kind := kind_in_folder(entry.path)):
            folder.files.append((entry.path, kind))
        else:
            folder.unread[suffix_of(name)] += 1
    return False


def _unread_files(unread: Counter[str]) -> str:
    counts = sorted(unread.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts[:MAX_SUFFIXES]]
    if rest := sum(count for _, count in counts[MAX_SUFFIXES:]):
        named.append(f"{rest:,} other")
    total = unread.total()
    return f"{_counted(total, 'file')} not read: {', '.join(named)}"


def _skipped_folders(folders: list[tuple[str, str]]) -> str:
    named = [f"{Path(path).name} ({reason})" for path, reason in folders[:MAX_FOLDERS]]
    if rest := len(folders) - MAX_FOLDERS:
        named += [f"{rest} other"] * (rest > 0)
    return f"{_counted(len(folders), 'subfolder')} not read: {', '.join(named)}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"
