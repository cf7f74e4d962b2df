"""Training on mixtures of two images, which keeps a large network from learning a small dataset by heart.

Each image is mixed with the next one of its batch (the order of an epoch is random already); how is drawn per image and
epoch. The label is shared out as the images are. No clean image is seen, so the log has no accuracy.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor, nn

from ..models import logits_and_auxiliary
from ..validation import check_real
from .context import Context
from .objectives import Objective


@dataclass(frozen=True, kw_only=True)
class Mixing(Objective):
    """Base: λ ~ Beta(alpha, alpha) is an image's own share. probability: of an image being mixed at all."""

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        self._put(check_real, "alpha", above=0)
        self._put(check_real, "probability", low=0, high=1)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, context: Context) -> Tensor:
        share = betaincinv(self.alpha, self.alpha, context.draws.fractions("mix-share", context.rows))
        share[context.draws.fractions("mix-at-all", context.rows) >= self.probability] = 1
        own = self.own(images, torch.from_numpy(share).to(images.device, images.dtype), context)
        mixed = own * images + (1 - own) * images.roll(-1, 0)
        share = own.mean((1, 2, 3))[:, None]
        exact = F.one_hot(labels, context.classes).to(share.dtype)
        context.show(mixed)
        logits, auxiliary = logits_and_auxiliary(model, mixed)
        return context.cross_entropy(logits, list(auxiliary), share * exact + (1 - share) * exact.roll(-1, 0))

    def own(self, images: Tensor, share: Tensor, context: Context) -> Tensor:
        """How much of each pixel is the image's own, (N, 1, 1, 1) or (N, 1, H, W), in [0, 1]; `share` (N,) is λ."""
        raise NotImplementedError


class MixUp(Mixing):
    """J(λx + (1 − λ)x', λy + (1 − λ)y')."""

    name, source = "mixup", "Zhang et al., 2018, mixup: beyond empirical risk minimization"

    def own(self, images: Tensor, share: Tensor, context: Context) -> Tensor:
        return share.view(-1, 1, 1, 1)


class CutMix(Mixing):
    """A window of 1 − λ of the area, its center uniform in the image, shows the other image; what lies outside is cut off,
    and labels share as the areas do."""

    name, source = "cutmix", "Yun et al., 2019, CutMix, section 3.1"

    def own(self, images: Tensor, share: Tensor, context: Context) -> Tensor:
        inside = []
        for side, purpose in zip(images.shape[2:], ("mix-row", "mix-column")):
            center = context.fractions(purpose, images)[:, None] * side
            distance = (torch.arange(side, device=images.device) + 0.5 - center).abs()
            inside.append(distance < (1 - share).sqrt()[:, None] * side / 2)
        return (~(inside[0][:, None, :, None] & inside[1][:, None, None, :])).to(images.dtype)
