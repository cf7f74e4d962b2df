"""`escrime train`: a network from scratch or from weights."""
