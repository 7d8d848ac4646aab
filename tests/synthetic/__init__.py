"""Data with known truth, made from a seed: faces, scenes and clips, for tests and benchmarks."""
