"""The laboratory: where models are trained, measured and exported. It alone may import torch."""
