"""One annotated picture as JPG."""

from mien.writers._pictures import one as open_writer

__all__ = ["SINGLE_SOURCE", "open_writer"]

SINGLE_SOURCE = True
