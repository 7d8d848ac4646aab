"""Faces over time: tracking, smoothing, resuming; no reading of videos, no writing of results."""
