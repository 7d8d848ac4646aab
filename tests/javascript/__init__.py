"""Type checks and lint of the JavaScript of the pages."""
