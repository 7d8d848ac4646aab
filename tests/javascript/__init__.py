"""Type check and lint of the pages' JavaScript."""
