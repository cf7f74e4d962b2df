"""What defenses share that classify noisy copies of an image: how the copies are made, and their logits."""

import torch
from torch import Tensor, nn

from ..budgets import epsilon
from ..models.adapted import in_its_precision
from ..models.running import check_logits, passes_per_image
from ..randomness import copied_keys, noise_keys, uniform_noise
from ..validation import check_whole


class NoisyCopies(nn.Module):
    """Base of defenses that put a model before copies x + δᵢ of each image, δᵢ uniform in the l_inf ball of radius ε_max.

    Copies are not clipped to [0, 1]. A subclass makes its logits of theirs, `copied_logits`.

    Args:
        model: The classifier to defend, images float32 (N, C, H, W) in [0, 1] → logits (N, K).
        eps_max: Noise radius as a fraction of the color range, a number or a text such as "8/255".
        samples: The copies of each image.

    Raises:
        EscrimeError: For `samples` below 1 or no whole number, and an `eps_max` that is no ε.
    """

    first_is_clean: bool  # whether δ₁ = 0

    def __init__(self, model: nn.Module, eps_max: float | str, samples: int):
        super().__init__()
        self.undefended = model
        self.eps_max = epsilon(eps_max)
        self.samples = check_whole("samples", samples, of="copies", hint="such as 16")

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return self.samples * passes_per_image(self.undefended)

    def noisy_copies(self, images: Tensor, keys: Tensor | None = None) -> Tensor:
        """The copies x + δᵢ.

        Args:
            images: (N, C, H, W).
            keys: Of the images, (N,); None for those of `noise_keys`.

        Returns:
            The copies, shape (samples, N, C, H, W).
        """
        keys = noise_keys(images) if keys is None else keys
        noisy = images[None] + self.eps_max * uniform_noise(images, self.samples - self.first_is_clean, keys)
        return torch.cat([images[None], noisy]) if self.first_is_clean else noisy

    def copied_logits(self, images: Tensor) -> Tensor:
        """The model's logits for the copies of `images` (N, C, H, W), shape (samples, N, K)."""
        keys = noise_keys(images)
        copies = self.noisy_copies(images, keys).flatten(0, 1)
        with copied_keys(self.samples, keys):
            logits: Tensor = check_logits(in_its_precision(self.undefended)(copies), copies).unflatten(0, (self.samples, -1))
        return logits
