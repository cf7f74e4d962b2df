"""What an attack was fitted to on some images, as an attack on others."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ...budgets import eps_text
from ...errors import EscrimeError
from ...models.fast.twin import Twin
from .base import Attack, Outcome
from .inputs import Inputs
from .one_for_all import OneForAll
from .pictures import write_picture


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

    attack: OneForAll
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
        return torch.tensor([digest(image) in self.seen for image in images], dtype=torch.bool)

    def save(self, path: Path | str) -> None:
        """Write a PNG: of a patch all that there is, to print and to `read`; of another perturbation a picture to look at, gray
        where nothing changes. Of several ε it is that of the largest.

        Args:
            path: The file.

        Raises:
            EscrimeError: For images of other channels than a picture has, and where the file cannot be written.
        """
        write_picture(path, self.attack.picture(self.made[self.eps]))

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

    def _check_fits(self, images: Tensor) -> None:
        """Raise EscrimeError for images (N, C, H, W) that the perturbation cannot be laid on."""
        made, own = self.made[self.eps], images.shape[1:]
        if made.shape[0] == own[0] and (made.shape == own or not self.attack.whole):
            return
        shapes = " × ".join(map(str, made.shape)), " × ".join(map(str, own))
        what = "channels" if made.shape[0] != own[0] else "size"
        raise EscrimeError(
            f"{self.name} was made for other images: it is {shapes[0]} (channels × height × width), the images are "
            f"{shapes[1]}; fit it on images of the same {what}, or bring these to it."
        )

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        seen = self.has_seen(inputs.images) & wanted.any(0)
        if seen.any():
            first = inputs.ids[int(seen.nonzero()[0])]
            raise EscrimeError(
                f"{self.name} was fitted on image {first!r} ({int(seen.sum())} of {len(seen)} images), so what it does to it "
                "shows nothing; judge it by images that it has not seen."
            )
        self._check_fits(inputs.images)
        nothing = torch.zeros(len(inputs.images))
        return [
            Outcome(self.applied(inputs, eps.where(here, 0)), nothing, nothing)
            for eps, here in zip(budgets, wanted, strict=True)
        ]


def digest(image: Tensor) -> str:
    """What tells an image (C, H, W) from others."""
    return sha256(repr(tuple(image.shape)).encode() + image.cpu().contiguous().numpy().tobytes()).hexdigest()
