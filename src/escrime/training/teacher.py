"""Learning from another network's answers instead of labels alone: knowledge distillation.

Any objective may be taught: its cross-entropy with the label becomes

    (1 − w) · J(x, y) + w · t² · KL(softmax(teacher(x) / t) ‖ softmax(z / t)),

z being the student's answer for x or for an adversarial example of x; the teacher sees x (Hinton et al., 2015, section 2;
for adversarial examples Goldblum et al., 2020, Adversarially robust distillation, equation 3). A mixture of two images is
shown to the teacher as it is (Beyer et al., 2022, section 3.1). Examples are crafted against the label, as always.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EscrimeError
from ..models import prepare
from ..models.first_call import SAME
from ..models.prepare import copied, numerical_gap
from ..models.running import failure_named
from .crafting import at_least_float32


class Teacher:
    """What the network `model` says of images, in evaluation mode, by a faster copy where that says the same.

    images: (n, C, H, W), some that the student will see; classes: K; weight: w; temperature: t.
    Errors: EscrimeError for a network that does not take the images or has other classes.
    """

    def __init__(self, model, images: Tensor, classes: int, weight: float, temperature: float):
        if not isinstance(model, nn.Module):
            raise EscrimeError(f"the teacher is a {type(model).__name__}; give a torch.nn.Module that returns logits.")
        self.weight, self.temperature = weight, temperature
        frozen = copied(model).to(images.device).eval().requires_grad_(False)
        side = images.shape[-1]
        fails = f"the teacher fails on an image of {images.shape[1]} × {side} × {side} in [0, 1]"
        with failure_named(fails, "give a network for images of this size"), torch.no_grad():
            logits = frozen(images.clone())
        if not isinstance(logits, Tensor) or logits.shape != (len(images), classes):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise EscrimeError(
                f"the teacher answers {len(images)} images with {found}, the network to be trained with "
                f"{(len(images), classes)}; give a teacher of the same classes in the same order."
            )
        faster = prepare(frozen)
        same = numerical_gap(frozen, faster, images) <= SAME * float(logits.abs().max())
        self.model = faster if same else frozen

    def logits(self, images: Tensor) -> Tensor:
        """What it says of `images`, (N, K)."""
        with torch.no_grad():
            return self.model(images.clone())  # which it may write into

    def loss(self, taught: Tensor, logits: Tensor, cross_entropy: Tensor) -> Tensor:
        """The weighted sum above; taught, logits: (N, K)."""
        said, answered = (at_least_float32(z) / self.temperature for z in (taught, logits))
        apart = F.kl_div(F.log_softmax(answered, 1), F.log_softmax(said, 1), reduction="batchmean", log_target=True)
        return (1 - self.weight) * cross_entropy + self.weight * self.temperature**2 * apart
