"""List the images and videos in a folder, and describe the files that are not read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mien.io.file_kind import HEIF_SUFFIXES, kind_in_folder, suffix_of, supports_heif
from mien.results import SourceKind

SYSTEM_FILES = frozenset(("desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"))
SYSTEM_FOLDERS = frozenset(("$recycle.bin", "@eadir", "__macosx", "system volume information"))
"""Lower-case names of files and folders that operating systems and network drives create; they are
skipped, like names that begin with a period."""

MAX_SUFFIXES, MAX_FOLDERS = 5, 3
"""Maximum number of suffixes and of folders that a message lists."""

HEIF_HINT = "In the mien repository, run pip install '.[heic]' to read .heic files"


@dataclass(slots=True)
class Folder:
    """The content of a folder and its subfolders.

    Attributes:
        files: Path and kind of each image and video, sorted by path.
        unread_counts: Number of other files with each suffix, in lower case; the key "" counts
            files without a suffix.
        skipped_folders: Path of each subfolder that was not read, and the reason.
    """

    files: list[tuple[str, SourceKind]] = field(default_factory=list)
    unread_counts: Counter[str] = field(default_factory=Counter)
    skipped_folders: list[tuple[str, str]] = field(default_factory=list)

    @property
    def unread_message(self) -> str:
        """Sentences on what was not read, without the final period; "" if everything was read."""
        sentences = [_describe_unread_files(self.unread_counts)] if self.unread_counts else []
        if self.skipped_folders:
            sentences.append(_describe_skipped_folders(self.skipped_folders))
        if not supports_heif() and HEIF_SUFFIXES & self.unread_counts.keys():
            sentences.append(HEIF_HINT)
        return ". ".join(sentences)


def read_folder(path: str) -> Folder:
    """List the files of a folder and its subfolders.

    Hidden and system files and subfolders are ignored. Links to folders are not followed, but
    listed in `skipped_folders`.

    Raises:
        OSError: The folder cannot be read. Unreadable subfolders are skipped instead.
    """
    folder, unvisited = Folder(), [path]
    while unvisited:
        current, subfolders = unvisited.pop(), []
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if not entry.is_dir():
                        _add_file(folder, entry)
                    elif _is_hidden_or_system_folder(entry.name):
                        continue
                    elif entry.is_symlink():
                        folder.skipped_folders.append((entry.path, "a link"))
                    else:
                        subfolders.append(entry.path)
        except OSError as error:
            if current == path:
                raise
            folder.skipped_folders.append((current, error.strerror or "it cannot be read"))
            continue
        unvisited += subfolders
    folder.files.sort()
    folder.skipped_folders.sort()
    return folder


def _is_hidden_or_system_folder(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def _add_file(folder: Folder, entry: os.DirEntry[str]) -> None:
    """Add a file to the content of a folder, or count it as unread."""
    name = entry.name.lower()
    if name.startswith(".") or name in SYSTEM_FILES:
        return
    # A broken link with the suffix of an image or video is listed, so that its error is reported.
    is_file = entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    if is_file and (kind := kind_in_folder(entry.path)):
        folder.files.append((entry.path, kind))
    else:
        folder.unread_counts[suffix_of(name)] += 1


def _describe_unread_files(unread_counts: Counter[str]) -> str:
    counts = sorted(unread_counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts[:MAX_SUFFIXES]]
    if rest := sum(count for _, count in counts[MAX_SUFFIXES:]):
        parts.append(f"{rest:,} other")
    total = unread_counts.total()
    return f"{_count_with_verb(total, 'file')} not read: {', '.join(parts)}"


def _describe_skipped_folders(folders: list[tuple[str, str]]) -> str:
    parts = [f"{Path(path).name} ({reason})" for path, reason in folders[:MAX_FOLDERS]]
    if len(folders) > MAX_FOLDERS:
        parts.append(f"{len(folders) - MAX_FOLDERS} other")
    return f"{_count_with_verb(len(folders), 'subfolder')} not read: {', '.join(parts)}"


def _count_with_verb(count: int, noun: str) -> str:
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"
