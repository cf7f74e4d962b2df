"""What every attack starts from: checked images, labels, targets, ids and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...checks import check_labels
from ...data.given import Given, read, read_images
from ...errors import EscrimeError, NotFinite, not_finite
from ...models.running import ordinary
from ...randomness import as_keys
from ...validation import check_seed
from .masks import checked_mask


@dataclass(frozen=True)
class Inputs:
    """The input of one attack call.

    Args:
        images: float32 (N, C, H, W) in [0, 1].
        labels: The true classes, int64 (N,).
        targets: The classes to reach, (N,); None for any misclassification.
        ids: One per image.
        seed: With the ids, of the randomness.
        floor: How little another attack has left between each image and success, (N,): an attack that is ahead of that does
            not give up.
        mask: Which pixels may change, bool (N, 1, H, W); None for all.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    ids: tuple[object, ...]
    seed: int
    floor: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def checked(
        cls,
        images: Any,
        labels: Any,
        targets: Tensor | None,
        target: int | None,
        seed: int,
        ids: Sequence[object] | None,
        device: torch.device | None = None,
        mask: Any = None,
    ) -> "Inputs":
        """The inputs of a call, of which anything outside the contract is refused by name.

        Args:
            images: As the caller gave them.
            labels: As the caller gave them.
            targets: As the caller gave them.
            target: The attack's own setting.
            seed: As the caller gave it.
            ids: As the caller gave them; None for 0, 1, …, or those of data that comes with labels.
            device: Of the model, for images that are on none yet; None for the CPU.
            mask: As the caller gave it, see `masks.checked_mask`.

        Returns:
            All of them on the device of the images.

        Raises:
            EscrimeError: For the first thing that is wrong.
        """
        on_a_device = isinstance(images, Tensor)
        if labels is None:
            found = read(images)
            images, labels = found.batch(slice(None)) if not isinstance(found, Given) else (found.images, found.labels)
            ids = found.ids if ids is None else ids
        images = ordinary(read_images(images).detach())
        images = images if on_a_device or device is None else images.to(device)
        n = len(images)
        labels = ordinary(check_labels(labels, n).to(images.device))
        if targets is not None and target is not None:
            raise EscrimeError(
                f"targets were given in the call and target={target} in the attack's settings; give only one of them."
            )
        if target is not None:
            targets = torch.full((n,), target, dtype=torch.long)
        if targets is not None:
            targets = ordinary(check_labels(targets, n, what="targets").to(images.device))
            same = (targets == labels).nonzero().flatten()
            if len(same):
                i = int(same[0])
                raise EscrimeError(
                    f"target {int(targets[i])} equals the label of image {i} ({len(same)} of {n} images); "
                    "a targeted attack needs another class, so leave those images out."
                )
        ids = tuple(range(n)) if ids is None else tuple(ids)
        if len(ids) != n:
            raise EscrimeError(f"ids name {len(ids)} images, but {n} were given; give one id per image.")
        return cls(images, labels, targets, ids, check_seed(seed), mask=checked_mask(mask, images))

    def only(self, rows: Tensor) -> "Inputs":
        """The inputs for some of the images; `rows` holds their positions."""
        targets = None if self.targets is None else self.targets[rows]
        ids = tuple(self.ids[row] for row in rows.tolist())
        floor = None if self.floor is None else self.floor[rows]
        mask = None if self.mask is None else self.mask[rows]
        return Inputs(self.images[rows], self.labels[rows], targets, ids, self.seed, floor, mask)

    def keys(self, *purpose: str | int) -> Tensor:
        """One key (N,) per image for `purpose`."""
        return as_keys([(self.seed, name, *purpose) for name in self.ids])


def check_classes(inputs: Inputs, classes: int) -> None:
    """Raise EscrimeError for labels and targets that a model of so many `classes` does not have."""
    check_labels(inputs.labels, len(inputs.labels), classes)
    if inputs.targets is not None:
        check_labels(inputs.targets, len(inputs.labels), classes, what="targets")


def report_not_finite(inputs: Inputs, bad: Tensor) -> None:
    """Raise NotFinite if the model returned NaN or infinity for any image in the mask `bad` (N,)."""
    rows = bad.nonzero().flatten().tolist()
    if rows:
        which, so = f"({len(rows)} of {len(bad)} images)", "such an output is not a success of the attack"
        raise NotFinite(not_finite(inputs.ids[rows[0]], which, so))
