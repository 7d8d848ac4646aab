"""Tests of mien.lab; they need torch."""
