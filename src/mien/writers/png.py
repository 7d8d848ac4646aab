"""One annotated picture as PNG."""

from mien.writers._pictures import one as open_writer

__all__ = ["HOLDS_ONE", "open_writer"]

HOLDS_ONE = True
