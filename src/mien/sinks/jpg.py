"""One annotated picture as JPG."""

from mien.sinks._pictures import one as to

__all__ = ["HOLDS_ONE", "to"]

HOLDS_ONE = True
