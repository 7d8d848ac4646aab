"""Tests of mien.classification."""
