"""Checks of records alone: what they contradict, and how far they reach."""
