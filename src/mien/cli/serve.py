"""The verb that serves over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mien.cli._common import SERVING, require_extra
from mien.errors import UserError

SECTION = SERVING


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 is every network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="yunet", show_default=True)
@click.option("--threads", type=click.IntRange(0), default=1, show_default=True,
              help="For the classifier; 0 is all cores.")  # fmt: skip
@click.option("--workers", type=click.IntRange(0), default=0,
              help="Pictures worked on at once; one more than cores by default.")  # fmt: skip
@click.option("--waiting", type=click.IntRange(1), default=64, show_default=True,
              help="Pictures that may wait; one more is answered 503.")  # fmt: skip
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Ask callers for the token in this file (or in $MIEN_TOKEN).")  # fmt: skip
@click.option("--allow-host", multiple=True, metavar="NAME",
              help="A name by which it may be called, such as that of a proxy.")  # fmt: skip
@click.option("--allow-origin", multiple=True, metavar="https://PAGE",
              help="Pages from there may call it; none may by default.")  # fmt: skip
@click.option("--allow-urls", is_flag=True,
              help="Fetch pictures from public addresses that requests name.")  # fmt: skip
def serve(
    host: str,
    port: int,
    model: str,
    detector: str,
    threads: int,
    workers: int,
    waiting: int,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    allow_urls: bool,
) -> None:
    """Serve pictures, videos and live frames over HTTP, to this machine alone by default.

    \b
        mien serve
        curl -F image=@photo.jpg http://127.0.0.1:8000/analyze
    """
    with require_extra("serve"):
        from mien.server import server
        from mien.server.settings import Settings, is_loopback
    token = _token(token_file)
    settings = Settings(
        model, detector, threads, workers, host, port, token,
        tuple(name.lower() for name in allow_host), allow_origin, allow_urls,
        max_pending_images=waiting,
    )  # fmt: skip
    if not is_loopback(host) and not token:
        click.echo("mien: whoever reaches this may use it; --token-file asks for a token", err=True)
    server.run(settings, lambda where: click.echo(f"mien: listening on {where}", err=True))


def _token(path: Path | None) -> str:
    """The token of a file or of $MIEN_TOKEN; empty if there is to be none."""
    if path is None:
        return os.environ.get("MIEN_TOKEN", "").strip()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    if not token:
        raise UserError(f"{path} holds no token; put one line into it.")
    return token
