"""The kinds of checks that ask a model; see results/checks/registry.py for how they are found."""

from ...results.checks.registry import Checks

# On a few clean images, in eval mode and without gradients. model: as it is. images: (N, C, H, W) in [0, 1]. labels: (N,).
# profile: what is known of the model (a Profile). seed: of whatever is drawn.
model_check = Checks(__package__)

# At the end of an examination. search: the Search with all that it tried and the images it was tried on. profile: as above.
attack_check = Checks(__package__)
