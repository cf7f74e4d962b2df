"""What fitting asks of an attack that makes one perturbation for all images: a beginning, the images with it, a step."""

import torch
from torch import Tensor

from ...validation import check_whole
from .base import Attack
from .inputs import Inputs


class OneForAll(Attack):
    """What a subclass of Universal implements or may replace, and its settings.

    - steps: gradient steps of each run. restarts: runs, of which the one that leaves fewest of the images it was fitted on
      right is the result. batch: images behind each step. fit_images: images it is fitted on at most.
    - whole: whether what is made is as large as an image.
    - manners: in how many ways the runs step, one after the other.
    - looks: how often each of these images is looked at to choose that run: more than once where something is drawn for it.
    """

    steps: int
    restarts: int
    batch: int
    fit_images: int

    looks = 1
    manners = 1
    whole = True

    access = "gradients"
    manner = "universal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", hint="such as 100")
        self._put(check_whole, "restarts", hint="the first run counted too")
        self._put(check_whole, "batch", of="images", hint="such as 32")
        self._put(check_whole, "fit_images", of="images", hint="such as 500")

    def begin(self, inputs: Inputs, eps: float, generator: torch.Generator | None) -> Tensor:
        """Where a run begins.

        Args:
            inputs: The images, for their size, and their masks.
            eps: ε.
            generator: Of a random beginning; None for the first run's.

        Returns:
            The perturbation, of one image (C, …).
        """
        raise NotImplementedError

    def applied(self, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        """The images with the perturbation, in the box and within ε to the last bit.

        Args:
            made: The perturbation of each, (N, C, …).
            images: float32 (N, C, H, W).
            eps: ε of each, (N,).
            keys: Of what is drawn for each, int64 (N,).
            mask: bool (N, 1, H, W) or None.

        Returns:
            float32 (N, C, H, W).
        """
        raise NotImplementedError

    def pulled_back(
        self, gradient: Tensor, made: Tensor, images: Tensor, eps: Tensor, keys: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The gradient with respect to the perturbation.

        Args:
            gradient: With respect to what `applied` returned for the same arguments, (N, C, H, W).
            made: As there.
            images: As there.
            eps: As there.
            keys: As there.
            mask: As there.

        Returns:
            Of each image, (N, C, …).
        """
        raise NotImplementedError

    def stepped(self, made: Tensor, gradient: Tensor, eps: float, size: float, run: int) -> Tensor:
        """A step up.

        Args:
            made: The perturbation, (C, …).
            gradient: Of what is to rise, (C, …).
            eps: ε.
            size: How far, as a share of the way from one end to the other, falling from 1 to 0.
            run: Which run it is of, from 0.

        Returns:
            The perturbation, within ε.
        """
        raise NotImplementedError

    def finished(self, made: Tensor) -> Tensor:
        """The perturbation (C, …) as it is kept, of what the last step left."""
        return made

    def picture(self, made: Tensor) -> Tensor:
        """What to show of a perturbation.

        Args:
            made: The perturbation, (C, …).

        Returns:
            An image, (C, h, w) in [0, 1].
        """
        raise NotImplementedError
