"""Ways around a defense: backward passes that are approximated (BPDA), surrogates with the same outputs, logits inside."""
