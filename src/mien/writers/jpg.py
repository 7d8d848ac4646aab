"""Write one annotated image as JPEG."""

from mien.writers._annotated_image import open_single as open_writer

__all__ = ["IS_SINGLE_SOURCE", "open_writer"]

IS_SINGLE_SOURCE = True
