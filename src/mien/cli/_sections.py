"""The sections of `mien --help`."""

ANALYSIS, SERVER, TRAINING = "Analysis", "Server", "Training and evaluation"

SECTIONS = (ANALYSIS, SERVER, TRAINING)
"""The sections in order; the module of each command sets `SECTION` to one of them."""
