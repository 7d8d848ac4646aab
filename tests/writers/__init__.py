"""Tests of mien.writers."""
