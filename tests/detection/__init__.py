"""Tests of mien.detection."""
