"""What a model gives away, and what an attack needs of it (Attack.access): models and attacks both name it."""

from typing import Final, Literal

Access = Literal["labels", "scores", "gradients"]
LABELS: Final = "labels"
SCORES: Final = "scores"
GRADIENTS: Final = "gradients"
ACCESS: tuple[Access, ...] = (LABELS, SCORES, GRADIENTS)  # from the least that a model gives away to the most
