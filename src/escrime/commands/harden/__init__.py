"""`escrime harden`: adversarial fine-tuning of a user's model, and whether it was worth it."""
