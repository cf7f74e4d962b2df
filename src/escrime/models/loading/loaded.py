"""What a specification of a model turns into."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from ...access import GRADIENTS, Access
from ...errors import EscrimeError
from ...imagenet import CLASSES, imagenet_names, imagenet_wnids
from ...regular_files import check_regular, most_weights, reason

USUAL_SIDE = 224  # pixels, of networks for photos


@dataclass(frozen=True)
class Loaded:
    """model: images float32 (N, 3, H, W) in [0, 1] → logits (N, K), a module, or for a black box any callable.

    origin: the specification. classes: K names, None where nothing says them. wnids: their WordNet ids, where the classes
    are ImageNet's. size: pixels of the square side it expects, None for any; fixed: it takes no other. answers: "gradients",
    or what a black box gives away: "scores" or "labels". normalization: a sentence about it, None where it is the model's own
    business.
    """

    model: nn.Module | Callable
    origin: str
    classes: tuple[str, ...] | None = None
    wnids: tuple[str, ...] | None = None
    size: int | None = None
    answers: Access = GRADIENTS
    normalization: str | None = None
    fixed: bool = False

    def side(self, wanted: int | None, usual: int = USUAL_SIDE) -> int:
        """Pixels of the square side of images for this model: those `wanted` (--size), else its own, else the usual ones.

        Raises:
            EscrimeError: Where it takes others alone.
        """
        if self.fixed and wanted not in (None, self.size):
            raise EscrimeError(
                f"{self.origin} takes images of {self.size} × {self.size} pixels alone, and --size asks for {wanted}; leave "
                "--size out, or export the model again with a free height and width."
            )
        return wanted or self.size or usual


def wnids_of(count: int) -> tuple[str, ...] | None:
    """The WordNet ids of a model with `count` classes, where those can be ImageNet's thousand."""
    return imagenet_wnids() if count == CLASSES else None


class HasNormalization(Protocol):
    """mean, std: tensors with one value per channel."""

    mean: Tensor
    std: Tensor


def with_names(loaded: Loaded, count: int) -> Loaded:
    """The model, which returns `count` logits: where nothing names them and they can be ImageNet's thousand, they are."""
    if count != CLASSES or loaded.classes or loaded.wnids not in (None, imagenet_wnids()):
        return loaded
    return replace(loaded, classes=imagenet_names(), wnids=imagenet_wnids())


def normalization(model: HasNormalization, source: str) -> str:
    """The mean and std of `model` in words, and that they come from `source`."""
    return f"mean {_channels(model.mean)}, std {_channels(model.std)}, from {source}"


def _channels(values: Tensor) -> str:
    """One number where all channels have the same."""
    numbers = [str(round(value, 4)) for value in values.flatten().tolist()]
    return numbers[0] if len(set(numbers)) == 1 else ", ".join(numbers)


def existing(path: Path) -> Path:
    """`path`, if there is such a file, and of a size that a model has."""
    try:
        check_regular(path, most_weights())
    except (FileNotFoundError, NotADirectoryError):
        raise EscrimeError(f"model file {path} does not exist; check the path.") from None
    except OSError as error:
        raise EscrimeError(f"model file {path} cannot be read: {reason(error)}; give the file that was saved.") from None
    return path
