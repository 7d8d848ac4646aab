"""Training, evaluation and export of models. No other package may import torch."""
