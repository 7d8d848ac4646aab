"""Faces over time: identity, smoothing, resuming; opens no video and writes no result."""
