"""escrime side by side with its peers: speed (`attacks`) and equal answers (`parity`)."""
