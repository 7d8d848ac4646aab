"""The exception whose message is shown to users, and callbacks for errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from mien.printable import printable


class UserError(Exception):
    """An error that the user can fix.

    The message says in a few plain sentences what is wrong and what to do. The command
    line prints it and exits with status 2; the server sends it in an error response. Any other
    exception is a bug and keeps its traceback. Control characters, for example in the name of a
    file, are escaped.

    Example:
        ```python
        try:
            result = mien.Analyzer().analyze("photo.jpg")
        except mien.UserError as error:
            print(error)  # Cannot read photo.jpg: file not found.
        ```
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


ErrorCallback = Callable[[UserError], None]
"""A function that is called with an error, after which the work continues."""


def warn(error: UserError) -> None:
    """Issue an error as a Python warning; the default callback if reading can continue."""
    warnings.warn(str(error), stacklevel=2)
