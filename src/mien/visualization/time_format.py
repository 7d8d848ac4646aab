"""Format times and durations as text for people."""

import math


def format_time(seconds: float, resolution_seconds: float = 0.1) -> str:
    """Format a time as in a video player, with or without tenths: `1:05.0`, `1:05` or `1:00:00`.

    Args:
        seconds: The time in seconds.
        resolution_seconds: Smallest difference between times to show; tenths are shown if it is
            below 1.
    """
    if resolution_seconds < 1:
        tenths = round(10 * seconds)
        minutes, rest = divmod(tenths, 600)
        end = f"{rest // 10:02d}.{rest % 10}"
    else:
        minutes, rest = divmod(round(seconds), 60)
        end = f"{rest:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{end}" if hours else f"{minutes}:{end}"


def format_duration(seconds: float) -> str:
    """Format a duration with one decimal, as `1.5 s`, or as `under 0.1 s` instead of `0.0 s`."""
    return f"{seconds:.1f} s" if seconds >= 0.05 else "under 0.1 s"


def format_approximate_duration(seconds: float) -> str:
    """Format a duration as `under a minute`, `14 min` or `2 h 5 min`.

    Args:
        seconds: The duration in seconds; infinity is `unknown time`.
    """
    if not math.isfinite(seconds):
        return "unknown time"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else "under a minute"
