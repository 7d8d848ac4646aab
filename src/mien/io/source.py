"""Interpret input strings: files, folders, globs, cameras, addresses and image sequences.

`Source.parse` and `Source.expand` determine the kind, location and name of an input. Other modules
do not interpret input strings; they use `Source.kind`, which becomes `Frame.kind`.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mien.errors import ErrorCallback, UserError, warn
from mien.io.file_kind import IMAGE_SUFFIXES, MOTION_JPEG_SUFFIXES, VIDEO_SUFFIXES, kind_of_file
from mien.io.folder import read_folder
from mien.results import LIVE_KINDS, SourceKind

STREAM_SUFFIXES = MOTION_JPEG_SUFFIXES | {".ts"}
"""Suffixes that both video files and live streams have; an address with one is read as a stream."""

ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|udp|srt|tcp)://", re.IGNORECASE)
CAMERA = re.compile(r"camera(?::(\d{1,9}))?$", re.IGNORECASE)  # OpenCV takes a 32-bit number
PASSWORD = re.compile(r"(://[^/@:]*:)[^/]*@")
SEQUENCE_NUMBER = r"%(\d{0,3})d"
"""Regular expression of the number in the pattern of a sequence; the group is its minimum number of
digits. File names are too short for numbers with a thousand digits."""

SEQUENCE = re.compile(rf"(?P<path>.*{SEQUENCE_NUMBER}[^/]*?)(?:@(?P<rate>\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Source:
    """One input: an image, an animation, a video, a camera, a stream or a sequence of images.

    Attributes:
        kind: `"image"` (one or several pages), `"animation"` (a GIF, PNG, WebP or AVIF file with
            several frames), `"video"` (the path or address of a video file), `"camera"`,
            `"stream"` (the address of a live stream) or `"sequence"` (numbered images).
        location: A path, `-` for standard input, an address, the number of a camera, or the
            pattern of a sequence such as `frames/%04d.png`.
        name: Name in records and messages. The password of an address is replaced by `***`, and
            bytes of a path that are not UTF-8 are escaped.
        rate: Frames per second of a sequence, or 0 if it is not given.

    Example:
        ```python
        Source.parse("camera:1")  # Source(kind='camera', location='1', name='camera:1', rate=0.0)
        ```
    """

    kind: SourceKind
    location: str
    name: str
    rate: float = 0.0

    @property
    def is_video(self) -> bool:
        """Whether the frames are successive moments, so that faces are tracked."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether this is a camera or stream; live sources drop frames instead of queueing them."""
        return self.kind in LIVE_KINDS

    @classmethod
    def parse(cls, text: str) -> Source:
        """Interpret a string as one input.

        Args:
            text: The input, as in `expand`.

        Raises:
            UserError: The input is a folder or glob with several files, or `expand` raises an
                error.
        """
        sources = cls.expand(text)
        if len(sources) > 1:
            raise UserError(f"{text} matches {len(sources)} files; give the path of one.")
        return sources[0]

    @classmethod
    def expand(cls, text: str, on_warning: ErrorCallback = warn) -> list[Source]:
        """Interpret a string as one or more inputs.

        Args:
            text: A file, a folder (all images and videos in it, at any depth), a glob (all files
                that match), `-` for an image on standard input, `camera` or `camera:1`, an address
                (`rtsp://...`, `https://.../clip.mp4`), or numbered images (`frames/%04d.png@30`).
            on_warning: Called with a `UserError` that counts the other files of a folder and names
                the subfolders that are not read, or that counts the folders that a glob without
                `**` matches. By default, a Python warning is issued. Hidden and system files are
                not counted.

        Returns:
            At least one input; those of a folder or glob are sorted by path. `kind_of_file`
            determines the kind of a file.

        Raises:
            UserError: There is nothing to read, a file or folder cannot be accessed, or the text is
                empty, an invalid address or the address of an image.

        Example:
            ```python
            Source.expand("holiday/")  # every image and video in the folder
            ```
        """
        try:
            source = _special_source(text)
            return [source] if source else _path_sources(text, on_warning)
        except OSError as error:  # a folder without permission to read it, or a name too long
            raise UserError(f"Cannot read {text}: {error.strerror}.") from None


def record_name(path: str | Path) -> str:
    r"""Return a path as text that can be encoded as UTF-8.

    Bytes that are not UTF-8 are escaped, as in `\udce9`. Control characters remain, so that records
    contain the true name.
    """
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _special_source(text: str) -> Source | None:
    """Interpret standard input, an address, a camera or a sequence; return None for a path."""
    if text == "-":
        return Source("image", text, "standard input")
    if ADDRESS.match(text):
        return _address(text)
    camera = CAMERA.match(text)
    if camera and not Path(text).exists():
        return Source("camera", camera[1] or "0", text)
    # In addresses, % has another meaning: %20 is a space.
    sequence = None if "://" in text else SEQUENCE.match(text)
    if sequence and not Path(text).exists():
        return Source("sequence", sequence["path"], record_name(text), float(sequence["rate"] or 0))
    return None


def _address(text: str) -> Source:
    """Interpret an address as a video file or a live stream."""
    name = record_name(PASSWORD.sub(r"\1***@", text))
    try:
        address = urlsplit(text)
    except ValueError:
        raise UserError(
            f"{name} is not a valid address; use for example rtsp://camera.local/live."
        ) from None
    suffix = Path(address.path).suffix.lower()
    if address.scheme not in ("http", "https"):
        return Source("stream", text, name)
    if suffix in IMAGE_SUFFIXES:
        raise UserError(f"Cannot read {name}: images are read only from files. "
                        "Download it first.")  # fmt: skip
    kind: SourceKind = "video" if suffix in VIDEO_SUFFIXES - STREAM_SUFFIXES else "stream"
    return Source(kind, text, name)


def _path_sources(text: str, on_warning: ErrorCallback) -> list[Source]:
    """Return the file itself, or list the files of a folder or glob, sorted by path."""
    if not text:
        raise UserError("The input is an empty string; give a file, a folder or a camera.")
    path = Path(text)
    if path.is_dir():
        return _folder_sources(text, on_warning)
    if path.exists():
        return [_file_source(text)]
    return _glob_sources(text, on_warning)


def _glob_sources(pattern: str, on_warning: ErrorCallback) -> list[Source]:
    matches = set(glob.glob(pattern, recursive=True))
    folders = {path for path in matches if Path(path).is_dir()}
    files = sorted(matches - folders)
    if folders and not files:
        raise UserError(f"Cannot read {pattern}: only folders match. Give the path of a folder.")
    if not files:
        raise UserError(f"Cannot read {pattern}: file not found.")
    if folders and "**" not in pattern:
        on_warning(UserError(f"{pattern}: {len(folders)} of the matches are folders and "
                             "were not read; give their paths, or use **."))  # fmt: skip
    return [_file_source(path) for path in files]


def _folder_sources(text: str, on_warning: ErrorCallback) -> list[Source]:
    folder = read_folder(text)
    if not folder.files:
        detail = f". {folder.unread_message}" if folder.unread_message else ""
        raise UserError(f"Cannot read folder {text}: it contains no image or video{detail}.")
    if folder.unread_message:
        on_warning(UserError(f"{text}: {folder.unread_message}."))
    files = [(str(Path(path)), kind) for path, kind in folder.files]  # without ./ and //
    return [Source(kind, path, record_name(path)) for path, kind in files]


def _file_source(path: str) -> Source:
    return Source(kind_of_file(path), path, record_name(path))
