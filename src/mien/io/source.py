"""Interpret input strings: files, folders, globs, cameras, addresses and image sequences.

This is the only module that does so. `Source.parse` and `Source.expand` determine the kind,
location and name of an input; all other modules use `Source.kind`, which becomes `Frame.kind`.
"""

from __future__ import annotations

import glob
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mien.errors import UserError
from mien.results import LIVE_KINDS, SourceKind

IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
))  # fmt: skip

VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
))  # fmt: skip

SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Files with these suffixes are read from folders; a file named explicitly may have any suffix."""

MOTION_JPEG = frozenset((".mjpeg", ".mjpg"))

STREAM_SUFFIXES = MOTION_JPEG | {".ts"}
"""Suffixes that live streams use as well, so that they do not identify a file at an address."""

SIGNATURES: tuple[tuple[SourceKind, int, tuple[bytes, ...]], ...] = (
    # HEIF and AVIF use the container of MP4, so they are tested first.
    ("image", 4, tuple(b"ftyp" + brand for brand in (
        b"avif", b"avis", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1",
    ))),
    ("image", 0, (
        b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*",
        b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
    )),
    ("image", 8, (b"WEBP",)),
    ("video", 4, (b"ftyp", b"moov", b"mdat", b"wide")),
    ("video", 8, (b"AVI ",)),
    ("video", 0, (
        b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"YUV4MPEG2 ", b"\0\0\x01\xba", b"\0\0\x01\xb3",
    )),
)  # fmt: skip
"""(kind, offset, bytes at that offset) of the formats that can be recognized by them."""

TRANSPORT_SYNC, TRANSPORT_PACKETS = 0x47, ((0, 188), (4, 192))
"""The sync byte of an MPEG transport stream, and where it repeats: (first offset, period)."""

ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|udp|srt|tcp)://", re.IGNORECASE)
CAMERA = re.compile(r"camera(?::(\d+))?$", re.IGNORECASE)
PASSWORD = re.compile(r"(://[^/@:]*:)[^/]*@")
SEQUENCE = re.compile(r"(?P<path>.*%\d*d[^/]*?)(?:@(?P<rate>\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Source:
    """One input: an image, an animation, a video, a camera, a stream or a sequence of images.

    Attributes:
        kind: `"image"` (one or several pages), `"animation"` (a GIF with a second frame),
            `"video"` (a file or the address of one), `"camera"`, `"stream"` (the address of a
            live stream) or `"sequence"` (numbered images as a video).
        location: A path, `-` for standard input, an address, the number of a camera, or the
            pattern of a sequence such as `frames/%04d.png`.
        name: Name in records and messages: printable, and without the password of an address.
        rate: Frames per second of a sequence if stated, otherwise 0.

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
        """Whether its frames are successive moments, so that faces are tracked."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether it is a camera or stream; live sources drop frames instead of queueing them."""
        return self.kind in LIVE_KINDS

    @classmethod
    def parse(cls, text: str) -> Source:
        """Interpret a string as one input.

        Args:
            text: As in `expand`.

        Returns:
            The input.

        Raises:
            UserError: As in `expand`, and for a folder or glob with several files.
        """
        if len(sources := cls.expand(text)) > 1:
            raise UserError(f"{printable(text)} matches {len(sources)} files; name one of them.")
        return sources[0]

    @classmethod
    def expand(cls, text: str) -> list[Source]:
        """Interpret a string as one or more inputs.

        Args:
            text: A file, a folder (all files in it, at any depth, with one of `SUFFIXES`), a glob,
                `-` for an image on standard input, `camera` or `camera:1`, an address
                (`rtsp://...`, `https://.../clip.mp4`), or numbered images (`frames/%04d.png@30`).

        Returns:
            At least one input; those of a folder or glob are sorted by path. The kind of a file is
            determined by its first bytes or, if they are not conclusive, by its suffix.

        Raises:
            UserError: Nothing matches, or the text is the address of an image.

        Example:
            ```python
            Source.expand("holiday/")  # every image and video in the folder
            ```
        """
        if source := _not_a_path(text):
            return [source]
        return [_file(path) for path in _paths(text)]


def printable(path: str | Path) -> str:
    """A path as text that can be encoded as UTF-8, with `?` for undecodable bytes."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _not_a_path(text: str) -> Source | None:
    """Standard input, an address, a camera or a sequence; None for a path or glob."""
    if text == "-":
        return Source("image", text, "standard input")
    if ADDRESS.match(text):
        return _address(text)
    if (camera := CAMERA.match(text)) and not Path(text).exists():
        return Source("camera", camera[1] or "0", text)
    # In an address, %20 is a space.
    sequence = None if "://" in text else SEQUENCE.match(text)
    if sequence and not Path(text).exists():
        return Source("sequence", sequence["path"], text, float(sequence["rate"] or 0))
    return None


def _address(text: str) -> Source:
    """The source at an address: a video file or a live stream."""
    name = printable(PASSWORD.sub(r"\1***@", text))
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
        raise UserError(f"Cannot read {name}: images are only read from files. "
                        "Download it first.")  # fmt: skip
    kind: SourceKind = "video" if suffix in VIDEO_SUFFIXES - STREAM_SUFFIXES else "stream"
    return Source(kind, text, name)


def _paths(text: str) -> list[str]:
    """The files that a path, folder or glob matches, sorted."""
    if not text:
        raise UserError("The input is an empty string; name a file, a folder or a camera.")
    path = Path(text)
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return [text]
        files = sorted(f for f in glob.glob(text, recursive=True) if not Path(f).is_dir())
    except OSError as error:
        raise UserError(f"Cannot read {printable(text)}: {error.strerror}.") from None
    if not files:
        raise UserError(f"Cannot read {printable(text)}: file not found.")
    return files


def _in_folder(folder: Path) -> list[str]:
    files = (f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and not f.is_dir())
    if not (paths := sorted(map(str, files))):
        raise UserError(f"Cannot read folder {printable(folder)}: it contains no image or video.")
    return paths


def _file(path: str) -> Source:
    return Source(_kind(Path(path)), path, printable(path))


def _kind(path: Path) -> SourceKind:
    suffix, head = path.suffix.lower(), _head(path)
    if head.startswith(b"GIF8"):
        return "animation" if _has_second_frame(path) else "image"
    by_suffix: SourceKind = "video" if suffix in VIDEO_SUFFIXES else "image"
    # A motion JPEG has the same first bytes as a JPEG.
    return by_suffix if suffix in MOTION_JPEG else _kind_by_content(head) or by_suffix


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of a pipe, from which they could not be read again."""
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return file.read(512)
    except OSError:  # reported when the file is read
        pass
    return b""


def _kind_by_content(head: bytes) -> SourceKind | None:
    for kind, offset, signatures in SIGNATURES:
        if head.startswith(signatures, offset):
            return kind
    for start, length in TRANSPORT_PACKETS:
        sync_bytes = head[start::length]
        if len(sync_bytes) > 1 and set(sync_bytes) == {TRANSPORT_SYNC}:
            return "video"
    return None


def _has_second_frame(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["GIF"]) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # reported when the file is read
        return False
