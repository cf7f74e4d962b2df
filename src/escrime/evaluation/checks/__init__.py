"""Validity checks that probe a model: each a small module whose functions return findings. Those of records: results/checks."""
