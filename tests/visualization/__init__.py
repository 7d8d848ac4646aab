"""Tests of mien.visualization."""
