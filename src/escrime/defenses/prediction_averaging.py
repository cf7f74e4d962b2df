"""PPA, perturbed prediction averaging. Donoghue, Lines, Pereira (2020), the paper's defense 3."""

import torch
from torch import Tensor, nn

from ..budgets import epsilon
from ..models.running import check_logits, passes_per_image
from ..randomness import copied_keys, noise_keys, uniform_noise
from ..validation import check_choice, check_whole

AVERAGES = ("exponentials", "probabilities")  # the paper's first


class PredictionAveraging(nn.Module):
    """A classifier that averages a model's predictions over noisy copies of the image.

    P(k|x) = Σᵢ e^{z_k(x+δᵢ)} / Σⱼ Σᵢ e^{z_j(x+δᵢ)} = softmax(logsumexpᵢ z(x+δᵢ)), δ₁ = 0 and δ₂..δ_N uniform in the l_inf
    ball of radius ε_max. The output is logsumexpᵢ z, shape (N_images, K), which can be differentiated.

    Copies are not clipped to [0, 1], as in the formula. Source: Donoghue, Lines, Pereira (2020), the paper's defense 3.

    Args:
        model: The classifier to defend, images float32 (N, C, H, W) in [0, 1] → logits (N, K).
        eps_max: Noise radius as a fraction of the color range, a number or a text such as "8/255".
        samples: N, the copies, including the clean one.
        average: "exponentials" is the formula above, in which a copy with large logits dominates; "probabilities" is the
            mean of the softmaxes, for comparison.

    Raises:
        EscrimeError: For `samples` below 1 or no whole number, an unknown `average`, an `eps_max` that is no ε.
    """

    defense = "ppa"

    def __init__(self, model: nn.Module, eps_max: float | str, samples: int, average: str = "exponentials"):
        super().__init__()
        self.undefended = model
        self.eps_max = epsilon(eps_max)
        self.samples = check_whole("samples", samples, of="copies", hint="such as 16")
        self.average = check_choice("average", average, AVERAGES)

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return self.samples * passes_per_image(self.undefended)

    def noisy_copies(self, images: Tensor, keys: Tensor | None = None) -> Tensor:
        """The copies x + δᵢ, the first one clean.

        Args:
            images: (N, C, H, W).
            keys: Of the images, (N,), by default what `noise_keys` says.

        Returns:
            The copies, shape (samples, N, C, H, W).
        """
        noise = uniform_noise(images, self.samples - 1, noise_keys(images) if keys is None else keys)
        return torch.cat([images[None], images[None] + self.eps_max * noise])

    def forward(self, images: Tensor) -> Tensor:
        """The averaged logits.

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        Returns:
            logsumexpᵢ z, shape (N, K); of the log-softmaxes for average="probabilities".
        """
        keys = noise_keys(images)
        copies = self.noisy_copies(images, keys).flatten(0, 1)
        with copied_keys(self.samples, keys):
            logits = check_logits(self.undefended(copies), copies).unflatten(0, (self.samples, -1))
        if self.average == "probabilities":
            logits = logits.log_softmax(dim=-1)
        return logits.logsumexp(dim=0)
