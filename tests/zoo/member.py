"""What the zoo knows of a model: where it is from, and what an attacker who knows everything attacks instead."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from escrime.data import load

IMAGES = 120


@dataclass(frozen=True)
class Built:
    """model: what is judged. undefended: the network without the defense. known: differentiable functions images → logits
    that an attacker who knows the model attacks in its place; the undefended network where none is given. relabel: the digits
    → the classes that the model was taught."""

    model: Callable[[Tensor], Tensor]
    undefended: Callable[[Tensor], Tensor]
    known: tuple = ()
    relabel: Callable[[Tensor], Tensor] = staticmethod(lambda labels: labels)


@dataclass(frozen=True)
class Member:
    """kind: "false" (looks more robust than it is), "honest" (an attack finds what there is), "chance" (its accuracy is
    `known_truth`, whatever the input). alone: the truth is that of images which come one at a time, to a model that has seen
    nothing before. eight_bits: examples are also tried as 8-bit pictures. on_model: label-only attacks on the model itself
    are part of the truth, for nothing better is known. naive_fails: a naive PGD leaves much more than the truth, where it
    runs at all. long: takes many minutes. photos: is judged on photos, not on digits."""

    name: str
    family: str
    source: str
    eps: float
    make: Callable[["Kit"], Built]
    kind: str = "false"
    randomized: bool = False
    alone: bool = False
    eight_bits: bool = False
    on_model: bool = False
    known_truth: float | None = None
    naive_fails: bool = True
    long: bool = False
    photos: bool = False


@dataclass
class Kit:
    """What members are made of: networks trained once and kept in the folder `cache`, the training images, and the photos'
    folder and weights where there are any."""

    cache: Path | None
    photos: Path | None = None
    weights: Path | None = None
    found: dict = field(default_factory=dict)  # see truth.examples
    truths: dict[str, float] = field(default_factory=dict)  # by name of the member
    _networks: dict[str, nn.Module] = field(default_factory=dict)

    def network(self, name: str) -> nn.Module:
        """The network `name` of recipes.RECIPES, in evaluation mode."""
        from .training import trained  # whose recipes are made of what is a member too

        if name not in self._networks:
            self._networks[name] = trained(name, self.cache).eval().requires_grad_(True)
        return self._networks[name]

    __call__ = network

    @cached_property
    def train(self) -> tuple[Tensor, Tensor]:
        return load("digits").train.batch(slice(None))

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        return load("digits").test.batch(list(range(0, 3 * IMAGES, 3)))

    def judged(self, member: Member) -> tuple[Tensor, Tensor]:
        """The images that `member` is judged on, and their digits or classes."""
        if not member.photos:
            return self.test
        from .photos import photos

        return photos(self.photos)
