"""YuNet where its weights can be had, else Haar. The default."""

from __future__ import annotations

import sys

from mien.detectors import Detector, haar, yunet
from mien.weights import Unavailable


def load() -> Detector:
    """YuNet; or, with one line of explanation on standard error, the cascade that needs no file."""
    try:
        return yunet.load()
    except Unavailable as error:
        print(f"mien: {error} Going on with the slower detector haar.", file=sys.stderr)
        return haar.load()
