"""`mien serve`: start the HTTP server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import click

from mien.cli._imports import require_extra
from mien.cli._messages import print_message
from mien.cli._sections import SERVER
from mien.cli._shared_options import DETECTOR_OPTION, MODEL_OPTION
from mien.errors import UserError

SECTION = SERVER


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; 0.0.0.0 lets other machines connect.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N",
              help="Port to listen on; 0 selects a free port.")  # fmt: skip
@MODEL_OPTION
@DETECTOR_OPTION
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True, metavar="N",
              help="Number of threads of the classifier; 0 uses all cores.")  # fmt: skip
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Number of images analyzed in parallel; 0 uses the number of cores "
              "plus one.")  # fmt: skip
@click.option("--max-images-in-progress", type=click.IntRange(1), default=64, show_default=True,
              metavar="N",
              help="Maximum number of images that are queued or being analyzed; further "
              "requests get status 503.")  # fmt: skip
@click.option("--video-size", type=click.Choice(["1080p", "1440p", "2160p"]), default="1080p",
              show_default=True,
              help="Maximum size of video frames; 2160p (4K) needs about 1.2 GB more "
              "memory than 1080p.")  # fmt: skip
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Require clients to send the bearer token that this file contains. Without this "
              "option, the token is read from $MIEN_TOKEN; if that is not set, none is "
              "required.")  # fmt: skip
@click.option("--allow-host", multiple=True, metavar="NAME",
              help="Accept requests whose Host header is NAME, such as the name of a proxy, "
              "besides --host and localhost. By default, any name is accepted if other machines "
              "can connect, otherwise only --host and localhost. Can be repeated.")  # fmt: skip
@click.option("--allow-origin", multiple=True, metavar="ORIGIN",
              help="Let web pages of this origin, such as https://example.org, use the server "
              "(CORS). Can be repeated.")  # fmt: skip
def serve(
    host: str,
    port: int,
    model: str,
    detector: str,
    threads: int,
    workers: int,
    max_images_in_progress: int,
    video_size: str,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
) -> None:
    """Start the HTTP server.

    It serves a web page and an API to analyze images, videos and camera frames. By default, only
    this machine can connect.

    \b
        mien serve
        curl -F image=@photo.jpg http://127.0.0.1:8000/analyze
    """
    with require_extra("serve"):
        from mien.server import server
        from mien.server.settings import VIDEO_PIXELS, Settings, is_loopback
    token = _read_token(token_file)
    settings = Settings(
        model=model, detector=detector, threads=threads, workers=workers,
        host=host, port=port, token=token,
        allowed_hosts=tuple(name.lower() for name in allow_host), allowed_origins=allow_origin,
        max_images_in_progress=max_images_in_progress, max_video_pixels=VIDEO_PIXELS[video_size],
    )  # fmt: skip
    if not is_loopback(host) and not token:
        print_message(
            "anyone who can reach this server can use it; require a token with --token-file"
        )
    _leave_signals_to_server()
    server.run(settings, lambda url: print_message(f"listening on {url}"))


def _leave_signals_to_server() -> None:
    """Remove the command line's handler of SIGTERM, and turn SIGHUP into SIGTERM.

    While it serves, uvicorn handles SIGTERM. After the shutdown, it restores the default action and
    raises the signal again, so that service managers see it in the exit status.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _read_token(path: Path | None) -> str:
    """Read the token from the file or, without one, from $MIEN_TOKEN; empty if that is not set."""
    if path is None:
        return os.environ.get("MIEN_TOKEN", "").strip()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; write only the token into it.") from None
    if not token:
        raise UserError(f"{path} contains no token; write it into the file.")
    return token
