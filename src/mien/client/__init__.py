"""Analyze images and videos on a mien server (`mien serve`), as with `Analyzer`.

The server does not store images. It stores a video until the video has been analyzed, and the
results until the client has read them.
"""

from mien.client.client import Client

__all__ = ["Client"]
