"""Majority vote over noisy copies, the hard-vote variant of PPA and the one of which something can be proved.

Sources: Cao and Gong (2017), Mitigating evasion attacks to deep neural networks via region-based classification (the vote
over uniform noise); Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized smoothing (what
the vote proves); Yang et al. (2020), Randomized smoothing of all shapes and sizes (uniform noise).
"""

from math import log

import torch
from torch import Tensor, nn

from .noisy_copies import NoisyCopies


class MajorityVote(NoisyCopies):
    """A classifier that predicts the class that most noisy copies of the image get from a model.

    x + δᵢ for i = 1..N, every δᵢ uniform in the l_inf ball of radius ε_max. Unlike PPA's, no copy is clean: the vote is then
    N independent samples of one distribution, what `escrime.certify` needs. Copies are not clipped to [0, 1].

    The output z, shape (N_images, K), is the log of a smoothed vote share, softmax(z)_k = (v_k + p̄_k) / (N + 1), with v_k
    the votes and p̄ the mean of the copies' softmaxes: p̄ counts as one more vote, which breaks ties, never a majority, and
    keeps a class without votes finite. Votes have no gradient, so z passes on that of log p̄ instead (straight-through:
    Bengio, Léonard and Courville, 2013, Estimating or propagating gradients through stochastic neurons): an adaptive
    attack is not stopped by the staircase.

    Sources: Cao and Gong (2017) for the vote over uniform noise; Cohen, Rosenfeld and Kolter (2019) for what it proves.

    Args:
        model: The classifier to defend, images float32 (N, C, H, W) in [0, 1] → logits (N, K).
        eps_max: Noise radius as a fraction of the color range, a number or a text such as "8/255".
        samples: N, the copies.

    Raises:
        EscrimeError: For `samples` below 1 or no whole number, and an `eps_max` that is no ε.
    """

    defense = "vote"
    first_is_clean = False

    def forward(self, images: Tensor) -> Tensor:
        """The log of the smoothed vote shares.

        Args:
            images: float32 (N, C, H, W) in [0, 1].

        Returns:
            z, shape (N, K), of which softmax(z) are the shares.
        """
        logits = self.copied_logits(images)
        mean = logits.log_softmax(dim=-1).logsumexp(dim=0) - log(self.samples)
        votes = nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).sum(dim=0).to(mean.dtype)
        share = torch.logaddexp(votes.log(), mean.detach()) - log(self.samples + 1)
        return share + (mean - mean.detach())
