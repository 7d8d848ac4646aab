"""Tests of mien, in folders named like those of src/mien and three more.

synthetic: data with ground truth, for tests and benchmarks. benchmarks: tests of the scripts in
benchmarks/. javascript: type checks and linting of the web pages.
"""
