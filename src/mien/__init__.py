"""mien reads the proportions of emotion on every face in a picture."""

__version__ = "0.1.0"
