"""Tests of mien: the folders are those of src/mien, and three of their own.

synthetic: data with known truth, for tests and benchmarks. benchmarks: tests of the scripts there.
javascript: type check and lint of the pages.
"""
