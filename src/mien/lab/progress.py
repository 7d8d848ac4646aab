"""How training reports its progress."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]
"""Called with "step" or "epoch", the number completed and the total."""
