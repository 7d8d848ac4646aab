"""Tests of mien.cli."""
