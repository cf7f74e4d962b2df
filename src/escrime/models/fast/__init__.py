"""The fast copy of a model, and the wall it stands behind: torch's private names are used here and nowhere else.

Tried with torch 2.15. Whatever a copy computes, what is recorded has been asked of the model itself (twin.py).
"""
