"""The sections of `mien --help`."""

SECTIONS = ANALYSIS, SERVER, TRAINING = "Analysis", "Server", "Training and evaluation"
"""The sections in order; the module of each command sets `SECTION` to one of them."""
