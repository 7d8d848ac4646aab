"""A name -> a model file on disk: packaged, in the cache, or downloaded once.

Nothing is fetched on import. A download has five seconds to begin, is checked against its sha256
and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien import atomic
from mien.errors import UserError
from mien.shelf import unknown

PACKAGED = Path(__file__).parent / "weights"
BESIDE = Path(__file__).parent.parent.parent / "models"
"""Larger models, which only the repository has; of an installed package there is no such folder."""

PATIENCE = 5.0
"""Seconds to wait for a server before giving up."""


@dataclass(frozen=True)
class Remote:
    """A file that somebody else publishes. override: an environment variable with a path or URL."""

    file: str
    url: str
    sha256: str
    size: int
    override: str


REMOTES = {
    "yunet": Remote(
        file="face_detection_yunet_2023mar.onnx",
        url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/"
        "face_detection_yunet/face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        size=232_589,
        override="MIEN_YUNET",
    ),
}


class Unavailable(UserError):
    """A file that could be had, but not now: offline, or the server did not answer."""


def cache() -> Path:
    """Where downloads are kept: $MIEN_HOME, or `mien` in the user's cache folder.

    Raises `Unavailable` where the user has no home.
    """
    if home := os.environ.get("MIEN_HOME"):
        return Path(home)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "mien"
    try:
        return Path.home() / ".cache" / "mien"
    except RuntimeError:  # no $HOME, and a user without a name, as in containers
        raise Unavailable(
            "There is no home folder; name a folder for downloads with MIEN_HOME."
        ) from None


def offline() -> bool:
    """Whether $MIEN_OFFLINE forbids downloads."""
    return os.environ.get("MIEN_OFFLINE", "").lower() not in ("", "0", "false", "no")


def models() -> dict[str, Path]:
    """The emotion models that come with mien, by name, the default first."""
    found = sorted((path.stem != "default", path.stem, path) for path in _shelf())
    return {name: path for _, name, path in found}


def _shelf() -> Iterator[Path]:
    for folder in (PACKAGED, BESIDE):
        yield from folder.glob("[!_]*.onnx")


def model(name: str) -> Path:
    """The file of a packaged model, or of anybody's `.onnx`; a `UserError` if there is none."""
    known = models()
    if name in known:
        return known[name]
    if not name.endswith(".onnx"):
        raise unknown("model", name, [*known, "or a path that ends in .onnx"])
    path = Path(name)
    try:
        is_there = path.is_file()
    except OSError as error:  # of a folder that may not be looked into, say
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    if not is_there:
        raise UserError(f"There is no model file {name}.")
    return path


def remote(name: str, *, fetch: bool = True) -> Path:
    """The file of a remote: from its override, the cache, or (with `fetch`) the network.

    Raises `Unavailable` where it cannot be had now, `UserError` where the override is wrong.
    """
    if name not in REMOTES:
        raise unknown("download", name, REMOTES)
    entry = REMOTES[name]
    source = os.environ.get(entry.override) or entry.url
    if "://" not in source:
        if not (path := Path(source)).is_file():
            raise UserError(f"${entry.override} is {source}, and no file is there.")
        return path
    kept = cache() / entry.file
    try:
        here = kept.is_file()
        if here and _sha256(kept.read_bytes()) == entry.sha256:
            return kept
    except OSError as error:
        why = f"{kept} cannot be read: {error.strerror}"
        raise Unavailable(f"{why}. Name a folder of your own with MIEN_HOME.") from None
    if not fetch or offline():
        state = f"damaged ({kept})" if here else "not here"
        when = " once MIEN_OFFLINE (or --offline) is lifted" if offline() else ""
        raise Unavailable(
            f"{name} is {state}: `mien download {name}` fetches it{when}, or name your own file "
            f"with {entry.override}."
        )
    if here:
        print(f"mien: {kept} is damaged and is fetched again", file=sys.stderr)
    _download(entry, source, kept)
    return kept


def _download(entry: Remote, url: str, path: Path) -> None:
    # Half the time of `import mien.weights`, and needed once in a machine's life.
    import http.client
    import urllib.error
    import urllib.request

    host = url.split("/")[2]
    kilobytes = entry.size / 1000
    print(f"mien: fetching {entry.file} ({kilobytes:.0f} kB) from {host}", file=sys.stderr)
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body = answer.read(entry.size + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise Unavailable(f"{entry.file} could not be fetched from {host}: {reason}.") from None
    if _sha256(body) != entry.sha256:
        raise Unavailable(f"What {host} sent is not {entry.file}: its sha256 differs.")
    try:
        with atomic.writing(path) as temporary:
            temporary.write_bytes(body)
    except UserError as error:
        raise Unavailable(f"{error} Name a writable folder with MIEN_HOME.") from None


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
