"""Perturbations that are one for all images: fitted on some of them, they attack others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from ...budgets import eps_text
from ...errors import EscrimeError
from ...models.fast.twin import Twin
from ...models.running import Classifier, differentiable, no_trace
from ...progress import ProgressOption
from ...validation import check_whole
from .base import Attack, Epsilon, Outcome, _device_of
from .inputs import Inputs
from .masks import refuse_mask


class Universal(Attack):
    """Base of attacks that make one perturbation for all images: `fit` makes it, on images that it is not judged by, and what
    that returns is an attack on any others.

    A subclass is a frozen dataclass with the settings named here; it implements `begin`, `applied`, `pulled_back`, `stepped`
    and may replace `finished`. An evaluation fits it on one half of its images and judges it by the other, and the other way
    round.

    - steps: gradient steps of each run. restarts: runs, of which the one that leaves fewest of the images it was fitted on
      right is the result. batch: images behind each step. fit_images: images it is fitted on at most.
    - looks: how often each of these images is looked at to choose that run: more than once where something is drawn for it.
    """

    steps: int
    restarts: int
    batch: int
    fit_images: int

    looks = 1

    access = "gradients"
    manner = ""  # one perturbation for all images bounds nothing that is made for each of them, nor is it bounded by it

    def __post_init__(self) -> None:
        super().__post_init__()
        self._put(check_whole, "steps", hint="such as 100")
        self._put(check_whole, "restarts", hint="the first run counted too")
        self._put(check_whole, "batch", of="images", hint="such as 32")
        self._put(check_whole, "fit_images", of="images", hint="such as 500")

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
        from .fitting import Fitting  # which needs this file

        budgets = [self._one(self._budget(eps)) for eps in epsilons or [self.eps]]
        with differentiable():
            inputs = Inputs.checked(images, labels, None, None, seed, ids, _device_of(model), mask)
            if mask is not None:
                refuse_mask(self.geometry, f"attack {self.name!r}")
            inputs = self._chosen(inputs)
            twin = model if isinstance(model, Twin) else Twin(model)
            with no_trace(twin.model, inputs.images.device):
                work = len(budgets) * self.restarts * min(self.batch, len(inputs.images))
                with self._watched(progress, work):
                    fitting = Fitting(self, twin, inputs)
                    made = {eps: fitting.best(eps) for eps in budgets}
        return Fitted(self, made, frozenset(map(_digest, inputs.images)), fitting.forwards, fitting.backwards)

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

    def stepped(self, made: Tensor, gradient: Tensor, eps: float, size: float) -> Tensor:
        """A step up.

        Args:
            made: The perturbation, (C, …).
            gradient: Of what is to rise, (C, …).
            eps: ε.
            size: How far, as a share of the way from one end to the other, falling from 1 to 0.

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

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        raise EscrimeError(
            f"{self.name} is fitted on some images and attacks others: call {self.name}(…).fit(model, images, labels), which "
            "returns the attack, or `evaluate`, which fits it on one half of its images for the other."
        )


@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Attack):
    """A perturbation that was fitted on some images, as an attack on others: it asks the model nothing.

    Args:
        attack: What made it.
        made: ε → the perturbation, float32 (C, …).
        seen: What tells the images that it was fitted on from others; it refuses to be judged by them.
        forwards: Forward passes of the network that fitting took.
        backwards: Backward passes.
    """

    attack: Universal
    made: Mapping[float, Tensor]
    seen: frozenset[str] = frozenset()
    forwards: float = 0.0
    backwards: float = 0.0

    access = "labels"  # the least there is: not even they are looked at
    steps = 0

    def __post_init__(self) -> None:
        """Its settings are those of an attack, which has checked them."""

    eps = property(lambda self: max(self.made))
    norm = property(lambda self: self.attack.norm)
    target = property(lambda self: self.attack.target)
    norms = property(lambda self: self.attack.norms)
    paper = property(lambda self: self.attack.paper)
    manner = property(lambda self: self.attack.manner)

    def __repr__(self) -> str:
        return f"{self.attack!r} fitted on {len(self.seen)} images ({self.fitted_on[:12]})"

    @property
    def name(self) -> str:
        return self.attack.name

    @property
    def fitted_on(self) -> str:
        """What tells the set of images it was fitted on from others, SHA-256."""
        return sha256("".join(sorted(self.seen)).encode()).hexdigest()

    def has_seen(self, images: Tensor) -> Tensor:
        """Which of the images it was fitted on.

        Args:
            images: float32 (N, C, H, W).

        Returns:
            (N,) bool.
        """
        return torch.tensor([_digest(image) in self.seen for image in images], dtype=torch.bool)

    def against_noise(self, eot: int) -> Attack:
        """The same: it does not look at the model."""
        return self

    def applied(self, inputs: Inputs, eps: Tensor) -> Tensor:
        """The images with the perturbation, whether it was fitted on them or not.

        Args:
            inputs: The images.
            eps: ε of each, (N,), of those that it was fitted at; at 0 an image stays as it is.

        Returns:
            float32 (N, C, H, W).
        """
        moved, keys = inputs.images.clone(), inputs.keys(self.name)
        for budget in eps.unique().tolist():
            rows = (eps == budget).nonzero().flatten()
            if budget > 0:
                at = rows.to(moved.device)
                made = self._at(budget).to(moved).expand(len(at), *self._at(budget).shape)
                mask = None if inputs.mask is None else inputs.mask[at]
                moved[at] = self.attack.applied(made, inputs.images[at], eps[rows].to(moved.device), keys[rows], mask)
        return moved

    def _at(self, eps: float) -> Tensor:
        if eps not in self.made:
            each = " and ".join(eps_text(known, self.geometry.per_value) for known in self.made)
            raise EscrimeError(
                f"{self.name} was fitted at ε = {each}, not at {eps_text(eps, self.geometry.per_value)}; fit it at that one."
            )
        return self.made[eps]

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        seen = self.has_seen(inputs.images) & wanted.any(0)
        if seen.any():
            first = inputs.ids[int(seen.nonzero()[0])]
            raise EscrimeError(
                f"{self.name} was fitted on image {first!r} ({int(seen.sum())} of {len(seen)} images), so what it does to it "
                "shows nothing; judge it by images that it has not seen."
            )
        nothing = torch.zeros(len(inputs.images))
        return [
            Outcome(self.applied(inputs, eps.where(here, 0)), nothing, nothing)
            for eps, here in zip(budgets, wanted, strict=True)
        ]


def _digest(image: Tensor) -> str:
    """What tells an image (C, H, W) from others."""
    return sha256(repr(tuple(image.shape)).encode() + image.cpu().contiguous().numpy().tobytes()).hexdigest()
