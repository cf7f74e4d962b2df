"""What several commands need: the run folder, bars, devices."""
