"""Results for people: annotated pictures, timelines, saliency maps, terminal, window."""
