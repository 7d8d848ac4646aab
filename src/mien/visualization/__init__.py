"""Results for people: annotated images, timelines, saliency maps, terminal and window views."""
