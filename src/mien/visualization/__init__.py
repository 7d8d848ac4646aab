"""Results for people: annotated images, timelines, importance maps, terminal and window views."""
