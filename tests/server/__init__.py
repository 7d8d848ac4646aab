"""Tests of mien.server."""
