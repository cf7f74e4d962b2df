"""PPA, perturbed prediction averaging. Donoghue, Lines, Pereira (2020), the paper's defense 3."""

from torch import Tensor, nn

from ..validation import check_choice
from .noisy_copies import NoisyCopies

AVERAGES = ("exponentials", "probabilities")  # the paper's first


class PredictionAveraging(NoisyCopies):
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
    first_is_clean = True

    def __init__(self, model: nn.Module, eps_max: float | str, samples: int, average: str = "exponentials"):
        super().__init__(model, eps_max, samples)
        self.average = check_choice("average", average, AVERAGES)

    def forward(self, images: Tensor) -> Tensor:
        """The averaged logits.

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        Returns:
            logsumexpᵢ z, shape (N, K); of the log-softmaxes for average="probabilities".
        """
        logits = self.copied_logits(images)
        if self.average == "probabilities":
            logits = logits.log_softmax(dim=-1)
        return logits.logsumexp(dim=0)
