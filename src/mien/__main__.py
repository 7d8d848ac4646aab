"""The program: `mien`, `python -m mien`, and what torchrun starts."""

from __future__ import annotations

import atexit
import os
import sys

from mien.cli import main


def program() -> None:
    """Run the command line and leave at once.

    With ONNX Runtime loaded, Python takes longer to take itself apart than mien to find a face;
    what is registered to be done at the end is done.
    """
    try:
        main()
    except SystemExit as done:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(done.code or 0))


if __name__ == "__main__":
    program()
