"""The corruptions by their names, each with its parameters at five severities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)
FAMILIES = ("noise", "blur", "weather", "digital")  # a file each, in the order of the paper's tables
SMALL = 64  # px: images up to this side are corrupted with the parameters published for CIFAR, larger ones with ImageNet's

Levels = Tensor  # float32 (N, C, H, W), each value a level from 0 to 255
Make = Callable[..., Tensor]


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Args:
        name: As the paper's authors write it in their files.
        family: "noise", "blur", "weather" or "digital".
        extra: Whether it is one of the four that are kept for choosing settings, not of the fifteen that are judged by.
        imagenet: Its parameter at each severity, for images of 224 px.
        cifar: The same for images of 32 px.
        make: (levels, keys, parameter) → levels, not yet whole or within 0 … 255; row n draws from keys[n] alone.
    """

    name: str
    family: str
    extra: bool
    imagenet: tuple[Any, ...]
    cifar: tuple[Any, ...]
    make: Make

    def parameter(self, severity: int, height: int, width: int) -> Any:
        """Its parameter at a severity for images of this size."""
        return (self.cifar if max(height, width) <= SMALL else self.imagenet)[severity - 1]


TABLE: dict[str, Corruption] = {}  # by name


def corruption(imagenet: tuple[Any, ...], cifar: tuple[Any, ...], *, extra: bool = False) -> Callable[[Make], Make]:
    """Make a function known as the corruption of its name, of the family that its file is called by."""

    def known(make: Make) -> Make:
        name = make.__name__
        TABLE[name] = Corruption(name, make.__module__.rpartition(".")[2], extra, imagenet, cifar, make)
        return make

    return known
