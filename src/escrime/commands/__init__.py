"""What each command of `escrime` does; `escrime.cli` parses and prints."""
