"""Emotion shares of detected faces: cropping, model files and the classifier."""
