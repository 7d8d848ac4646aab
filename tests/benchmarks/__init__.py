"""Tests of the scripts in benchmarks/; they need torch."""
