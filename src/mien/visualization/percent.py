"""Percentages in text for people."""


def percent(share: float, decimals: int = 0) -> str:
    """Format a share, 0 to 1, as a percentage with a space before the sign: `99 %`."""
    return f"{100 * share:.{decimals}f} %"
