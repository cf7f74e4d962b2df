"""Catastrophic overfitting: seen while it happens, on images held out, and what is done about it."""
