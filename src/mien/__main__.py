"""Entry point of `mien`, `python -m mien` and `torchrun -m mien`."""

from __future__ import annotations

import atexit
import os
import signal
import sys


def program() -> None:
    """Run the command line, and end the process without finalizing the interpreter.

    With ONNX Runtime loaded, finalization takes longer than detecting a face. Functions registered
    with `atexit` still run, except if Ctrl-C interrupts the import.
    """
    try:
        from mien.cli import main  # Ctrl-C during the import must not print a traceback

        main()
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)
    except SystemExit as error:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(error.code or 0))


if __name__ == "__main__":
    program()
