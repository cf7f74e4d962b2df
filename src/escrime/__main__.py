"""`python -m escrime` is the same as `escrime`."""

from .cli import main

main()
