"""How hard an evaluation looks at its own numbers."""

from dataclasses import dataclass, fields

from ..validation import check_whole


@dataclass(frozen=True)
class Effort:
    """How hard the checks look: every number is whole and from 1, doublings from 0.

    Where gradients are true and nothing is hidden, fewer draws and queries will do: at most 100 points, and no more queries on
    an image that they will not reach.

    Args:
        images: how many images the checks look at, evenly over the classes.
        steps: of each gradient attack.
        queries: of the score-based one.
        draws: random points in the ball.
        eot: noise draws per gradient of a randomized model, to begin with.
        doublings: how often steps and eot are doubled while that still lowers the accuracy.

    Raises:
        EscrimeError: for a number that is none of these.
    """

    images: int = 64
    steps: int = 100
    queries: int = 1000
    draws: int = 1000
    eot: int = 8
    doublings: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            low = 0 if field.name == "doublings" else 1
            object.__setattr__(self, field.name, check_whole(f"Effort.{field.name}", getattr(self, field.name), low))
