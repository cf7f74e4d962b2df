"""How hard an evaluation looks at its own numbers."""

from dataclasses import dataclass, fields

from ..validation import check_whole


@dataclass(frozen=True)
class Effort:
    """images: how many images the checks look at, evenly over the classes. steps: of each gradient attack. queries: of the
    score-based one. draws: random points in the ball. Where gradients are true and nothing is hidden, fewer of both will do: at
    most 100 points, and no more queries on an image that they will not reach. eot: noise draws per gradient of a randomized
    model, to begin with. doublings: how often steps and eot are doubled while that still lowers the accuracy. Every one is a
    whole number from 1, doublings from 0.
    """

    images: int = 64
    steps: int = 100
    queries: int = 1000
    draws: int = 1000
    eot: int = 8
    doublings: int = 3

    def __post_init__(self):
        for field in fields(self):
            low = 0 if field.name == "doublings" else 1
            object.__setattr__(self, field.name, check_whole(f"Effort.{field.name}", getattr(self, field.name), low))
