"""What an input string means: the only module that interprets one.

`Source.parse` and `Source.expand` say of which kind an input is, where it lies and what it is
called. Everything behind them goes by `Source.kind`, which the frames carry on as `Frame.kind`.
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
"""What is read in a folder; a file that is named itself is read whatever its suffix."""

MOTION_JPEG = frozenset((".mjpeg", ".mjpg"))

ENDLESS = MOTION_JPEG | {".ts"}
"""Suffixes that an address shares with streams, so that they do not tell a file there."""

SIGNATURES: tuple[tuple[SourceKind, int, tuple[bytes, ...]], ...] = (
    # HEIF and AVIF are in the container of MP4, and go before it.
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
"""Kind, offset in the file, and the bytes there: of the formats that can be told by them."""

TRANSPORT_SYNC, TRANSPORT_PACKETS = 0x47, ((0, 188), (4, 192))
"""An MPEG transport stream repeats a byte: (first offset, length of a packet)."""

ADDRESS = re.compile(r"(rtsps?|rtmps?|https?|udp|srt|tcp)://", re.IGNORECASE)
CAMERA = re.compile(r"camera(?::(\d+))?$", re.IGNORECASE)
PASSWORD = re.compile(r"(://[^/@:]*:)[^/]*@")
SEQUENCE = re.compile(r"(?P<path>.*%\d*d[^/]*?)(?:@(?P<rate>\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Source:
    """One input: an image, an animation, a video, a camera, a stream or a sequence of images.

    Attributes:
        kind: `"image"` (one or several pages), `"animation"` (a GIF with a second frame),
            `"video"` (a file or the address of one), `"camera"`, `"stream"` (an address without
            an end) or `"sequence"` (numbered images as a video).
        location: what opens it: a path, `-` for standard input, an address, the number of a
            camera, or the pattern of a sequence such as `frames/%04d.png`.
        name: what records and messages call it: printable, and without the password of an address.
        rate: frames per second of a sequence, as far as it says so; otherwise 0.

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
        """Whether its frames follow each other in time, so that faces keep their ids."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether it is a camera or a stream, which drop frames instead of waiting."""
        return self.kind in LIVE_KINDS

    @classmethod
    def parse(cls, text: str) -> Source:
        """The one input that a string means.

        Args:
            text: as for `expand`.

        Returns:
            The input.

        Raises:
            UserError: as for `expand`, and for a folder or glob of several files.
        """
        if len(found := cls.expand(text)) > 1:
            raise UserError(f"{printable(text)} is {len(found)} files; name one of them.")
        return found[0]

    @classmethod
    def expand(cls, text: str) -> list[Source]:
        """Every input that a string means.

        Args:
            text: a file, a folder (its files at any depth that have one of `SUFFIXES`), a glob,
                `-` for an image on standard input, `camera` or `camera:1`, an address
                (`rtsp://...`, `https://.../clip.mp4`), or numbered images (`frames/%04d.png@30`).

        Returns:
            At least one input; those of a folder or a glob sorted by path. Files are told apart
            by their first bytes and, where these say nothing, by their suffix.

        Raises:
            UserError: if there is nothing, or it is the address of an image.
        """
        if alone := _special(text):
            return [alone]
        return [_file(path) for path in _paths(text)]


def printable(path: str | Path) -> str:
    """A path that can be printed and written as UTF-8, whatever bytes its name has."""
    return str(path).encode("utf-8", "replace").decode("utf-8")


def _special(text: str) -> Source | None:
    """What is no path of this machine, or not only one."""
    if text == "-":
        return Source("image", text, "standard input")
    if ADDRESS.match(text):
        return _address(text)
    if (found := CAMERA.match(text)) and not Path(text).exists():
        return Source("camera", found[1] or "0", text)
    # In an address, %20 is a space.
    found = None if "://" in text else SEQUENCE.match(text)
    if found and not Path(text).exists():
        return Source("sequence", found["path"], text, float(found["rate"] or 0))
    return None


def _address(text: str) -> Source:
    """A file that ends, or a stream that may not."""
    name = printable(PASSWORD.sub(r"\1***@", text))
    try:
        address = urlsplit(text)
    except ValueError:
        raise UserError(f"{name} is not an address.") from None
    suffix = Path(address.path).suffix.lower()
    if address.scheme not in ("http", "https"):
        return Source("stream", text, name)
    if suffix in IMAGE_SUFFIXES:
        raise UserError(f"{name} is an address, and pictures are read from files; "
                        "fetch it first.")  # fmt: skip
    kind: SourceKind = "video" if suffix in VIDEO_SUFFIXES - ENDLESS else "stream"
    return Source(kind, text, name)


def _paths(text: str) -> list[str]:
    """The files that a path, a folder or a glob means, sorted."""
    if not text:
        raise UserError("The name of a picture is empty.")
    path = Path(text)
    try:
        if path.is_dir():
            return _in_folder(path)
        if path.exists():
            return [text]
        found = sorted(f for f in glob.glob(text, recursive=True) if not Path(f).is_dir())
    except OSError as error:
        raise UserError(f"{printable(text)} cannot be read: {error.strerror}.") from None
    if not found:
        raise UserError(f"There is no file {printable(text)}.")
    return found


def _in_folder(folder: Path) -> list[str]:
    files = (f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and not f.is_dir())
    if not (found := sorted(map(str, files))):
        raise UserError(f"The folder {printable(folder)} holds no picture.")
    return found


def _file(path: str) -> Source:
    return Source(_kind(Path(path)), path, printable(path))


def _kind(path: Path) -> SourceKind:
    suffix, head = path.suffix.lower(), _head(path)
    if head.startswith(b"GIF8"):
        return "animation" if _has_second_frame(path) else "image"
    by_name: SourceKind = "video" if suffix in VIDEO_SUFFIXES else "image"
    # A motion JPEG begins as a JPEG does.
    return by_name if suffix in MOTION_JPEG else _by_content(head) or by_name


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of a pipe, where they would be missing afterwards."""
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return file.read(512)
    except OSError:  # the reader says what is wrong with it
        pass
    return b""


def _by_content(head: bytes) -> SourceKind | None:
    for kind, offset, signatures in SIGNATURES:
        if head.startswith(signatures, offset):
            return kind
    for start, length in TRANSPORT_PACKETS:
        marks = head[start::length]
        if len(marks) > 1 and set(marks) == {TRANSPORT_SYNC}:
            return "video"
    return None


def _has_second_frame(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["GIF"]) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # the reader says what is wrong with it
        return False
