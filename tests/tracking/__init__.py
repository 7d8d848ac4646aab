"""Tests of mien.tracking."""
