"""Tests of mien.lab.models."""
