"""Severity of a common corruption, 1 … 5: no ball, its images are rendered from the corruption, its severity and the draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..budgets import epsilon
from ..errors import EscrimeError
from .base import register
from .rendered import Rendered

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 5.0


@register
class CommonCorruption(Rendered):
    """How severe a corruption of Hendrycks & Dietterich (2019) is, from 1 to 5 as in the paper; 0 leaves the image as it is.

    The parameters of an image are the place of its corruption in `escrime.corruptions`, its severity, and the key of its draws
    as two halves, the upper one first; see `parameters_of`.
    """

    name = "corruption"
    also = ("common_corruptions", "noise", "blur", "weather", "imagenet_c", "cifar10_c")
    eps_in_words = " of corruption severity"
    unit = "severity of the corruption"
    meaning = "How severe the corruption is, from 1 to 5; the pixels follow from it, the corruption and the draw of the image."
    grain = 1.0
    drawn = True
    attacker = False
    tried = "each image was corrupted once in every way that was asked for"
    usual = (3.0, 3.0)

    @property
    def largest(self) -> float:
        return LARGEST

    def epsilon(self, value: float | int | str) -> float:
        """A severity; EscrimeError for what is none of 0 … 5."""
        number = epsilon(value, math.inf)
        if number != int(number) or number > LARGEST:
            raise EscrimeError(f"ε = {value!r} is no severity of a corruption; use a whole number from 1 to 5, such as 3.")
        return number

    def said(self, eps: float) -> str:
        return f"corruption severity {eps:g} of {LARGEST:g}"

    def counts(self, eps: float) -> str:
        return "severity"

    def render(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The corrupted images (N, C, H, W) of parameters (N, 4); at severity 0 an image as it is."""
        import torch

        from ..corruptions import CORRUPTIONS, render

        made, parameters = images.clone(), parameters.cpu()
        keys = (parameters[:, 2].long() << 32) + parameters[:, 3].long()
        for place, severity in torch.unique(parameters[parameters[:, 1] > 0, :2], dim=0).tolist():
            rows = (parameters[:, :2] == torch.tensor([place, severity], dtype=torch.float64)).all(1).nonzero().flatten()
            made[rows.to(made.device)] = render(
                images[rows.to(images.device)], CORRUPTIONS[int(place)], int(severity), keys[rows]
            )
        return made

    def size(self, parameters: Tensor) -> Tensor:
        """The severities, (N,)."""
        return parameters[:, 1]


def parameters_of(corruption: str, severities: Tensor, keys: Tensor) -> Tensor:
    """The parameters, float64 (N, 4), of images under a corruption of these severities (N,), drawn from keys (N,)."""
    import torch

    from ..corruptions import CORRUPTIONS

    place = torch.full((len(keys),), float(CORRUPTIONS.index(corruption)), dtype=torch.float64)
    return torch.stack([place, severities.double(), (keys >> 32).double(), (keys & 0xFFFFFFFF).double()], dim=1)
