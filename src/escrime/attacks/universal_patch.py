"""One patch for all images. Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..budgets import LEVELS
from ..errors import EscrimeError
from ..validation import check_real
from .core.base import Epsilon
from .core.pictures import read_picture
from .core.placing import blank, pasted, pulled
from .core.universal import Fitted, Inputs, Universal

# Of the runs in turn: the first step, of the color range, and how far it reaches from pixel to pixel, of the patch's side. With
# 8 px the first fools a network at 32 px on 55 % of the images, the second on 39 % (five draws); on others it varies.
MANNERS = ((0.1, 0.15), (0.05, 0.0))


@dataclass(frozen=True)
class UniversalPatch(Universal):
    """One patch for all images, to print: fitted on some, judged by others, at places that nobody chooses.

    At every step, and when it is judged, each image has the patch at a place of its own, turned by up to `angle` degrees and in
    a size from `smallest` to the largest that fits into the square of side ε: what rises is the mean over all of these (EOT).
    Colors step by the sign of the gradient, by 0.1 at first (more where the steps are few), ever less along half a cosine, and
    end as whole levels k/255, so that a PNG holds what was judged. The gradient of a few images at a few places says little of
    a single pixel, so every first run smooths it, by a Gaussian of 0.15 of the patch's side at first that falls with the steps
    (escrime's own); every second run does not, and steps by 0.05.

    Source: Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, section 2.

    Args:
        eps: The side in pixels of the square that the patch fits into, turned or not; a whole number.
        steps: Gradient steps of each run.
        restarts: Runs, of which the one that leaves fewest of the images it was fitted on right is kept.
        batch: Images behind each step.
        fit_images: Images it is fitted on at most.
        angle: The largest angle to either side, in degrees.
        smallest: The smallest size, as a share of the largest that fits.
        target: The class that all images shall reach; None for any misclassification.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range; in a call, since it is to be fitted first.
    """

    eps: Epsilon
    steps: int = 200
    restarts: int = 2
    batch: int = 32
    fit_images: int = 500
    angle: float = 20.0
    smallest: float = 0.8
    target: int | None = None
    eot: int = 1

    norms = ("patch",)
    paper = "Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, arXiv:1712.09665"
    norm = "patch"
    looks = 4
    manners = len(MANNERS)
    whole = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_real, "angle", low=0, high=180, hint="such as 20, in degrees, or 0 for none")
        self._put(check_real, "smallest", above=0, high=1, hint="such as 0.8, or 1 for one size")

    def read(self, path: Path | str, channels: int = 3) -> Fitted:
        """The patch in a picture file, as an attack at the ε of its size.

        Args:
            path: The file, such as an evaluation keeps, or `save` of what was fitted writes.
            channels: Of the images that it is for: 3, or 1 where they are gray.

        Returns:
            The attack. It does not know which images the patch was fitted on.

        Raises:
            EscrimeError: For a file that is no such picture, and one of another size than ε.
        """
        made = read_picture(path, channels)
        if not max(made.shape[1:]) == self.eps:
            size = " × ".join(map(str, reversed(made.shape[1:])))
            raise EscrimeError(f"{Path(path).name} has {size} pixels, and ε = {self.eps}; a patch is as large as ε.")
        return Fitted(self, {float(max(made.shape[1:])): made})

    def begin(self, inputs: Inputs, eps: float, generator: torch.Generator | None) -> Tensor:
        gray = blank(inputs.images, eps)
        return gray if generator is None else torch.rand(gray.shape, generator=generator, dtype=gray.dtype).to(gray)

    def applied(self, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        return pasted(made, images, eps, keys, mask, self.angle, self.smallest)

    def pulled_back(
        self, gradient: Tensor, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None
    ) -> Tensor:
        return pulled(gradient, made, images, eps, keys, mask, self.angle, self.smallest)

    def stepped(self, made: Tensor, gradient: Tensor, eps: float, size: float, run: int) -> Tensor:
        step, spread = MANNERS[run % self.manners]
        first = max(step, 2 / self.steps)  # all steps together cross the color range
        return (made + first * size * _smoothed(gradient, spread * size).sign().float()).clamp(0, 1)

    def finished(self, made: Tensor) -> Tensor:
        return (made * LEVELS).round() / LEVELS

    def picture(self, made: Tensor) -> Tensor:
        return made


def _smoothed(gradient: Tensor, spread: float) -> Tensor:
    """The gradient (C, h, w), each pixel's mixed with its neighbors', by a Gaussian of `spread` times the longer side."""
    down, across = (_neighbors(length, spread * max(gradient.shape[1:]), gradient) for length in gradient.shape[1:])
    return down @ gradient @ across.T


def _neighbors(length: int, deviation: float, like: Tensor) -> Tensor:
    """What each of `length` pixels in a row takes of each, (length, length); each row sums to 1."""
    place = torch.arange(length, dtype=like.dtype, device=like.device)
    away = (place[:, None] - place[None]).square()
    return (-away / (2 * max(deviation, 0.1) ** 2)).softmax(1)  # with 0.1, of nothing but itself
