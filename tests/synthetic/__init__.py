"""Synthetic data with ground truth: faces, scenes and clips, for tests and benchmarks."""
