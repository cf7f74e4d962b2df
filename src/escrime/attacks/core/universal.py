"""The base of attacks that make one perturbation for all images: fitted on some of them, they attack others."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import EscrimeError
from ...models.fast.twin import Twin
from ...models.running import Classifier, differentiable, no_trace, passes_per_image
from ...norms import refuse_mask
from ...progress import ProgressOption
from .base import Epsilon, Outcome, _device_of
from .fitted import Fitted, digest
from .fitting import Fitting
from .inputs import Inputs
from .one_for_all import OneForAll

__all__ = ["Fitted", "Inputs", "Universal"]  # what a new attack is written with


class Universal(OneForAll):
    """Base of attacks that make one perturbation for all images: `fit` makes it, on images that it is not judged by, and what
    that returns is an attack on any others.

    A subclass is a frozen dataclass with the settings of OneForAll; it implements `begin`, `applied`, `pulled_back`, `stepped`
    and `picture`, and may replace `finished`. An evaluation fits it on one half of its images and judges it by the other, and
    the other way round.
    """

    def fit(
        self,
        model: Classifier | Twin,
        images: Any,
        labels: Any = None,
        *,
        epsilons: Sequence[Epsilon] = (),
        seed: int = 0,
        ids: Sequence[object] | None = None,
        mask: Any = None,
        progress: ProgressOption = None,
    ) -> "Fitted":
        """Make the perturbation. What comes of it does not depend on the order of the images, nor on how many of them the
        network takes at a time.

        Args:
            model: As in a call of an attack.
            images: As there. Of more than `fit_images` the seed chooses; with a `target` those of that class are left out.
            labels: As there.
            epsilons: The ε to fit it at, each a number; by default its own.
            seed: As there.
            ids: As there.
            mask: As there.
            progress: As there.

        Returns:
            An attack, which refuses the images that it was fitted on.

        Raises:
            EscrimeError: As a call does; and for no image, no ε, and ε that differ between images.
        """
        asked: Sequence[Epsilon | None] = epsilons or [self.eps]
        budgets = [self._one(self._budget(eps)) for eps in asked]
        with differentiable():
            inputs = Inputs.checked(images, labels, None, None, seed, ids, _device_of(model), mask)
            if mask is not None:
                refuse_mask(self.geometry, f"attack {self.name!r}")
            inputs = self._chosen(inputs)
            twin = model if isinstance(model, Twin) else Twin(model)
            with no_trace(twin.model, inputs.images.device):
                work = len(budgets) * self.restarts * min(self.batch, len(inputs.images)) * passes_per_image(twin.model)
                with self._watched(progress, work):
                    fitting = Fitting(self, twin, inputs)
                    made = {eps: fitting.best(eps) for eps in budgets}
        return Fitted(self, made, frozenset(map(digest, inputs.images)), fitting.forwards, fitting.backwards)

    def passes_to_fit(self, images: int, epsilons: int) -> int:
        """Network passes, forward or there and back, that fitting it at so many ε on so many images takes, about."""
        some = min(images, self.fit_images)
        return epsilons * self.restarts * (self.steps * min(self.batch, some) + self.looks * some)

    def _one(self, eps: float | tuple[float, ...] | None) -> float:
        if eps is None or isinstance(eps, tuple):
            raise EscrimeError(f"{self.name} makes one perturbation for all images, so it has one ε; give a number.")
        return eps

    def _chosen(self, inputs: Inputs) -> Inputs:
        """The images to fit on, in an order of their own, with the classes to reach."""
        order = inputs.keys(self.name, "fit").argsort(stable=True)
        if self.target is not None:
            order = order[(inputs.labels != self.target).cpu()[order]]
        some = inputs.only(order[: self.fit_images].to(inputs.images.device))
        if not len(some.images):
            aside = "" if self.target is None else f" that are not of class {self.target} already"
            raise EscrimeError(f"{self.name} was given no images{aside} to be fitted on; give at least one, better hundreds.")
        targets = None if self.target is None else torch.full_like(some.labels, self.target)
        return Inputs(some.images, some.labels, targets, some.ids, some.seed, mask=some.mask)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        raise EscrimeError(
            f"{self.name} is fitted on some images and attacks others: call {self.name}(…).fit(model, images, labels), which "
            "returns the attack, or `evaluate`, which fits it on one half of its images for the other."
        )
