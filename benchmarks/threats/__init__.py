"""docs/results/threats.md: every threat to real networks, from finished runs of `escrime evaluate --threat`."""
