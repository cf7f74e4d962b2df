"""`escrime tune`: ε_max and N of prediction averaging."""
