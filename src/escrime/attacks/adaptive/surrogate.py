"""What an attacker who knows a model differentiates: the same predictions, with a useful gradient."""

from contextlib import nullcontext
from math import gcd

import torch
from torch import Tensor, nn

from ...models.running import Classifier, passes_per_image
from ...randomness import derive, generators_kept, noise_keys, row_keys, uniform_noise
from .bpda import InnerTable, StraightThrough

MOST_CALLS = 64  # for one batch; draws of an expectation are adjacent rows, and usually a power of two


class Surrogate(nn.Module):
    """The same predictions as a model's, images (N, C, H, W) → logits (N, K), with a gradient that is easier to follow.

    Args:
        model: The classifier.
        through: Whether to go straight through what has no gradient (BPDA, see StraightThrough).
        scale: Divides the logits, so that cross-entropy no longer saturates; predictions do not change.
        smooth: Above 0, the gradient is the mean over `samples` points drawn uniformly within ± smooth of each value, which
            finds the slope of a jagged function; the logits stay those of the image itself.
        samples: Of that mean.
        apart: For models that draw their noise once per batch: neighboring rows go through the model in separate calls, or
            the draws of an expectation over noise (EOT) would all be the same one.
        whole: See StraightThrough; with `through`.
        unsaturated: See StraightThrough; with `through`.
        inner: See StraightThrough; with `through`.
        grid: Whether the model is queried about the nearest 8-bit image, for one that treats others differently.
    """

    path: Classifier

    def __init__(
        self,
        model: Classifier,
        *,
        through: bool = False,
        scale: float = 1.0,
        smooth: float = 0.0,
        samples: int = 8,
        apart: bool = False,
        whole: bool = False,
        unsaturated: bool = False,
        inner: InnerTable | None = None,
        grid: bool = False,
    ):
        super().__init__()
        self.apart, self.grid = apart, grid
        self.through = (through or whole or unsaturated or inner is not None) and isinstance(model, nn.Module)
        self.scale, self.smooth, self.samples = float(scale), float(smooth), int(samples)
        if isinstance(model, nn.Module) and self.through:
            model = StraightThrough(model, whole=whole, unsaturated=unsaturated, inner=inner)
        self.path = model

    @property
    def copies(self) -> int:
        """Network passes per image where a gradient is asked for."""
        return passes_per_image(self.path) * (1 + self.samples * (self.smooth > 0))

    def forward(self, images: Tensor) -> Tensor:
        images = self._rounded(images)
        given = images.clone() if self.smooth else images  # a model may write into it, and the images are used again
        logits = self._separately(given) if self.apart else self.path(given)
        if self.smooth and torch.is_grad_enabled() and images.requires_grad:
            keys = noise_keys(images)
            noise = self.smooth * uniform_noise(images, self.samples, None if keys is None else derive(keys, 1))
            around = self._rounded((images[None] + noise).flatten(0, 1))
            slope = _keyed(self.path, around, keys, self.samples).unflatten(0, (self.samples, -1)).mean(0)
            logits = logits.detach() + (slope - slope.detach())
        return logits if self.scale == 1 else logits / self.scale

    def _rounded(self, images: Tensor) -> Tensor:
        """The images, or where the model treats others differently the 8-bit ones next to them, to the last bit."""
        return eight_bit(images) + (images - images.detach()) if self.grid else images

    def _separately(self, images: Tensor) -> Tensor:
        groups = gcd(len(images), MOST_CALLS)
        keys, outputs = noise_keys(images), []
        with nullcontext() if keys is None else generators_kept():  # once, not for every part
            for group in range(groups):
                part = slice(group, None, groups)
                with nullcontext() if keys is None else row_keys(keys[part]):
                    outputs.append(self.path(images[part]))
        return torch.stack(outputs, dim=1).flatten(0, 1)


def eight_bit(images: Tensor) -> Tensor:
    """The nearest images of whole levels k/255, exactly as an 8-bit file is read."""
    return (images.detach() * 255).round().clamp(0, 255) / 255


def _keyed(model: Classifier, images: Tensor, keys: Tensor | None, times: int) -> Tensor:
    """The logits of `times` copies of a batch, each with noise keys of its own."""
    if keys is None:
        return model(images)
    drawn = torch.cat([derive(keys, 2 + copy) for copy in range(times)])
    with row_keys(drawn):
        return model(images)
