"""One annotated picture as JPG."""

from mien.writers._pictures import one as to

__all__ = ["HOLDS_ONE", "to"]

HOLDS_ONE = True
