"""Learning from another network's outputs instead of labels alone: knowledge distillation.

Any objective may be taught: its cross-entropy with the label becomes

    (1 − w) · J(x, y) + w · t² · KL(softmax(teacher(x) / t) ‖ softmax(z / t)),

z being the student's logits for x or for an adversarial example of x; the teacher sees x (Hinton et al., 2015, section 2;
for adversarial examples Goldblum et al., 2020, Adversarially robust distillation, equation 3). A mixture of two images is
shown to the teacher as it is (Beyer et al., 2022, section 3.1). Examples are crafted as without a teacher.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]  # missing in torch's stub

from ..errors import EscrimeError
from ..models import prepare
from ..models.adapted import InItsPrecision, Plain, weights_type
from ..models.fast.first_call import SAME
from ..models.fast.prepare import copied, numerical_difference
from ..models.outputs import is_plain, logits_in
from ..models.running import buffers_kept, failure_named
from .crafting import at_least_float32


class Teacher:
    """The logits of the network `model`, in evaluation mode, by a faster copy where those are the same.

    images: (n, C, H, W), some that the student will see; classes: K; weight: w; temperature: t.

    Raises:
        EscrimeError: For a network that does not take the images, has other classes or returns NaN.
    """

    def __init__(self, model: nn.Module, images: Tensor, classes: int, weight: float, temperature: float):
        if not isinstance(model, nn.Module):
            raise EscrimeError(f"the teacher is a {type(model).__name__}; give a torch.nn.Module that returns logits.")
        if any(isinstance(p, UninitializedTensorMixin) or p.is_meta for p in [*model.parameters(), *model.buffers()]):
            raise EscrimeError("the teacher has weights without values; load them, and call lazy layers once on images.")
        self.weight, self.temperature, self.used = weight, temperature, False
        frozen = copied(model)
        frozen.to(images.device)
        frozen.eval()
        for parameter in frozen.parameters():  # one by one: ScriptModules have no requires_grad_ of their own
            parameter.requires_grad_(False)
        images, side = images.contiguous(), images.shape[-1]  # the memory that every network takes
        fails = f"the teacher fails on an image of {images.shape[1]} × {side} × {side} in [0, 1]"
        before = [buffer.clone() for buffer in frozen.buffers()]
        with failure_named(fails, "give a network that takes float32 images of this size"), torch.no_grad():
            if weights_type(frozen) not in (None, torch.float32):
                frozen = InItsPrecision(frozen)
            logits = frozen(images.clone())
            if not is_plain(logits):
                frozen, logits = Plain(frozen), logits_in(logits)
        if not isinstance(logits, Tensor) or logits.shape != (len(images), classes):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise EscrimeError(
                f"the teacher answers {len(images)} images with {found}, the network to be trained with "
                f"{(len(images), classes)}; give a teacher of the same classes in the same order."
            )
        if logits.isnan().any():
            raise EscrimeError("the teacher answers the first training images with NaN; give one with sound weights.")
        self._moves = any(not torch.equal(now, then) for now, then in zip(frozen.buffers(), before))
        faster = prepare(frozen)
        same = numerical_difference(frozen, faster, images) <= SAME * float(logits.abs().max())
        self.model = faster if same and not self._moves else frozen

    def logits(self, images: Tensor) -> Tensor:
        """Its logits (N, K) for `images`, contiguous, which it may write into. Its buffers stay as they are."""
        self.used = True
        with torch.no_grad(), buffers_kept(self.model) if self._moves else nullcontext():
            return self.model(images)

    def loss(self, taught: Tensor, logits: Tensor, cross_entropy: Tensor) -> Tensor:
        """The weighted sum above; taught, logits: (N, K)."""
        target, student = (at_least_float32(z) / self.temperature for z in (taught, logits))
        # Of probabilities: a class that the teacher excludes has the logarithm −∞.
        apart = F.kl_div(F.log_softmax(student, 1), target.softmax(1), reduction="batchmean")
        return (1 - self.weight) * cross_entropy + self.weight * self.temperature**2 * apart
