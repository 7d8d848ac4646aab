"""From a face to its proportions: crops, model files, their classifier. Detection is not here."""
