"""Show results: annotated images, timelines, importance maps, terminal and window views."""
