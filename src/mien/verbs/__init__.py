"""The verbs of the command line: one file each, with a command of the same name.

Each parses, calls one thing and prints. Only the verb that is asked for is imported.
"""

SHELF = __name__
