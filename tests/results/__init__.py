"""Tests of mien.results."""
