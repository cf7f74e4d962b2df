"""How hard an evaluation looks at its own numbers."""

from dataclasses import dataclass, fields

from ..results.checks.counting import FEWEST
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

    Without one, an evaluation takes `Effort.usual` for its number of images.
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

    @classmethod
    def usual(cls, images: int) -> "Effort":
        """That of an evaluation of so many images: the default, and a lighter one for fewer than `few-images` lets anybody
        believe (FEWEST), where the checks can still find what is wrong, but no number can come out of them.

        Args:
            images: how many are evaluated.

        Returns:
            An Effort.
        """
        return cls(steps=20, queries=100, draws=50, eot=1, doublings=1) if images < FEWEST else cls()
