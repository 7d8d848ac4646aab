"""Tests of mien.io."""
