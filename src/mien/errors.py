"""The one exception that a person is meant to read."""


class UserError(Exception):
    """What was asked cannot be done, and the reader can mend it.

    The message is one or two plain sentences: what was asked, what is possible, what to type.
    The command line prints it and exits with 2; the service answers 4xx with it. Every other
    exception is a bug and keeps its traceback.
    """
