"""One annotated picture as PNG."""

from mien.writers._pictures import one as to

__all__ = ["HOLDS_ONE", "to"]

HOLDS_ONE = True
