"""Write one annotated image as JPG."""

from mien.writers._annotated_image import open_single as open_writer

__all__ = ["SINGLE_SOURCE", "open_writer"]

SINGLE_SOURCE = True
