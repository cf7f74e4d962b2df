"""`escrime attack`: photos that fool a model."""
