"""Determine whether a file is an image, an animation or a video by its content and suffix."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from io import BufferedReader
from stat import S_ISREG

from mien.results import SourceKind

HEIF_SUFFIXES = frozenset((".heic", ".heics", ".heif", ".heifs", ".hif"))
"""Suffixes of files that are read if pillow-heif is installed."""

IMAGE_SUFFIXES = HEIF_SUFFIXES | frozenset((
    ".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2",
    ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tga", ".tif", ".tiff", ".webp",
))  # fmt: skip

VIDEO_SUFFIXES = frozenset((
    ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264",
    ".h265", ".hevc", ".insv", ".ivf", ".lrv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg",
    ".mjpg", ".mk3d", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mpv", ".mts",
    ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".tod", ".trp", ".ts", ".vob", ".webm",
    ".wmv", ".wtv", ".y4m",
))  # fmt: skip

READABLE_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes of images and videos.

In a folder, files with these suffixes are read even if their content is different, so that an error
is reported. The exceptions are `AMBIGUOUS_SUFFIXES`, and `HEIF_SUFFIXES` without pillow-heif.
"""

AMBIGUOUS_SUFFIXES = frozenset((".dv", ".ico", ".mod", ".nut", ".rm", ".tod", ".ts"))
"""Suffixes that other files also have, such as `.ts` of TypeScript.

In a folder, such a file is read only if its signature is that of an image or video.
"""

EXCLUDED_SUFFIXES = frozenset((
    ".aac", ".ape", ".m4a", ".m4b", ".m4p", ".m4r", ".mka", ".oga", ".ogg", ".opus", ".spx",
    ".weba", ".wma",
    ".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
))  # fmt: skip
"""Suffixes of audio and camera raw files, which are not read from folders.

These files have the signatures of videos and TIFFs.
"""

MOTION_JPEG_SUFFIXES = frozenset((".mjpeg", ".mjpg"))
"""Suffixes of videos that begin like a JPEG, so that only the suffix tells them apart."""

HEIF_SIGNATURES = tuple(
    b"ftyp" + brand
    for brand in (b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")
)
"""Possible bytes 4 to 11 of HEIF files."""

SIGNATURES: tuple[tuple[SourceKind, int, tuple[bytes, ...]], ...] = (
    # HEIF and AVIF use the container of MP4, so they are tested first.
    ("image", 4, (b"ftypavif", b"ftypavis", *HEIF_SIGNATURES)),
    ("image", 0, (
        b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
        b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
    )),
    ("image", 8, (b"WEBP",)),
    ("video", 4, (b"ftyp", b"moov", b"mdat", b"wide")),
    ("video", 8, (b"AVI ",)),
    ("video", 0, (
        b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"YUV4MPEG2 ", b"\0\0\x01\xba", b"\0\0\x01\xb3",
        b".RMF", b"DKIF\0\0",
    )),
)  # fmt: skip
"""Signatures of file formats: kind, offset in the file, and possible bytes at that offset."""

TRANSPORT_SYNC_BYTE = 0x47
"""First byte of each packet of an MPEG transport stream."""

TRANSPORT_PACKET_LAYOUTS = ((0, 188), (4, 192))
"""Offset of the first sync byte and distance between sync bytes; the second layout is that of M2TS,
which has a timestamp of four bytes before each packet."""

WEBP_FLAGS_OFFSET, WEBP_ANIMATION_FLAG = 20, 0x02
"""Offset of the flags of an extended WebP file, and the flag of an animation."""

HEAD_BYTES = 512
"""Number of bytes that are read to recognize a signature: up to three sync bytes of a transport
stream."""


def kind_of_file(path: str) -> SourceKind:
    """Return the kind of a file by its signature, else by its suffix; other files are images.

    Files with `MOTION_JPEG_SUFFIXES` are always videos.
    """
    suffix = suffix_of(path)
    if suffix in MOTION_JPEG_SUFFIXES:
        return "video"
    by_suffix: SourceKind = "video" if suffix in VIDEO_SUFFIXES else "image"
    return _kind_by_content(path, _head(path)) or by_suffix


def kind_in_folder(path: str) -> SourceKind | None:
    """Return the kind of a file in a folder, or None if files like it are not read from folders."""
    suffix = suffix_of(path)
    if suffix in EXCLUDED_SUFFIXES or (suffix in HEIF_SUFFIXES and not supports_heif()):
        return None
    if suffix in READABLE_SUFFIXES and suffix not in AMBIGUOUS_SUFFIXES:
        return kind_of_file(path)
    head = _head(path)
    return None if is_heif(head) and not supports_heif() else _kind_by_content(path, head)


def suffix_of(path: str) -> str:
    """Return the suffix of a path in lower case, with its period."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122  # faster than Path for large folders


def supports_heif() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def is_heif(head: bytes) -> bool:
    """Return whether a file with these first bytes is HEIF, such as the HEIC images of phones."""
    # AVIF files may have the same major brand, followed by an AVIF brand.
    return head.startswith(HEIF_SIGNATURES, 4) and not re.search(rb"avi[fs]", head[8:64])


def is_gif(path: str) -> bool:
    """Return whether a file is a GIF."""
    return _head(path).startswith(b"GIF8")


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file, or b"" for a pipe, which can be read only once."""
    try:
        if S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  # as fast as possible for large folders
            with open(path, "rb", buffering=0) as file:
                return file.read(HEAD_BYTES)
    except OSError:  # reported when the file is read
        pass
    return b""


def _kind_by_content(path: str, head: bytes) -> SourceKind | None:
    for kind, offset, signatures in SIGNATURES:
        if head.startswith(signatures, offset):
            is_animation = kind == "image" and _is_animation(path, head)
            return "animation" if is_animation else kind
    for start, length in TRANSPORT_PACKET_LAYOUTS:
        sync_bytes = head[start::length]
        if len(sync_bytes) > 1 and set(sync_bytes) == {TRANSPORT_SYNC_BYTE}:
            return "video"
    return None


def _is_animation(path: str, head: bytes) -> bool:
    """Return whether an image is an animation; faster tests come before opening it with Pillow."""
    if head.startswith(b"GIF8"):
        return _has_second_frame(path, "GIF")
    if head.startswith(b"WEBPVP8X", 8):
        is_complete = len(head) > WEBP_FLAGS_OFFSET
        is_flagged = is_complete and bool(head[WEBP_FLAGS_OFFSET] & WEBP_ANIMATION_FLAG)
        return is_flagged and _has_second_frame(path, "WEBP")
    if head.startswith(b"ftypavis", 4):
        return _has_second_frame(path, "AVIF")
    return head.startswith(b"\x89PNG") and _is_apng(path) and _has_second_frame(path, "PNG")


def _is_apng(path: str) -> bool:
    """Return whether a PNG has the chunk `acTL` of animations before its pixels."""
    try:
        with open(path, "rb") as file:
            return b"acTL" in _chunk_names_before_pixels(file)
    except OSError:  # reported when the file is read
        return False


def _chunk_names_before_pixels(file: BufferedReader) -> Iterator[bytes]:
    file.seek(8)  # after the signature
    # A chunk consists of the number of its data bytes, its name, the data and a checksum.
    while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
        yield header[4:]
        data_bytes, checksum_bytes = int.from_bytes(header[:4], "big"), 4
        file.seek(data_bytes + checksum_bytes, os.SEEK_CUR)


def _has_second_frame(path: str, image_format: str) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=[image_format]) as image:
            return getattr(image, "is_animated", False)
    except Exception:  # reported when the file is read
        return False
