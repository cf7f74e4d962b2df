"""A patch for one image, at a place that nobody chooses. Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch; expectation
over places: Athalye, Engstrom, Ilyas, Kwok (2018), Synthesizing robust adversarial examples."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..budgets import LEVELS
from ..models.deadline import look
from ..models.fast.twin import Twin
from ..models.running import Batches, passes_per_image
from ..randomness import derive
from ..validation import check_real, check_whole
from .core.base import Attack, Epsilon, Outcome
from .core.gradients import finite, loss_gradient
from .core.inputs import Inputs, report_not_finite
from .core.losses import LOSSES, check_loss
from .core.placing import blank, pasted, pulled
from .core.predictions import clean_logits

STEP = 0.1  # the first, of the color range
CLEAN, STEPS, NOISE = 1, 2, 3  # what random numbers are for


@dataclass(frozen=True)
class RandomPatch(Attack):
    """A patch for one image that has to work wherever it lands, which nobody chooses.

    It is judged at a place, an angle and a size that are drawn from the seed and the image's id. Each step follows the mean of
    the gradients at several of each (EOT), by its sign, by 0.1 of the color range at first, ever less along half a cosine. An
    image that is wrong as it is stays as it is. `Patch` chooses the place too, so it is the worst case; `UniversalPatch` makes
    one patch for all images.

    Source: Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, section 2; Athalye, Engstrom, Ilyas, Kwok (2018),
    Synthesizing robust adversarial examples, section 2.1.

    Args:
        eps: The side in pixels of the square that the patch fits into, turned or not; a whole number or one per image.
        steps: Gradient steps.
        places: At which each step looks.
        angle: The largest angle to either side, in degrees.
        smallest: The smallest size, as a share of the largest that fits.
        loss: "ce", "margin" or "dlr".
        target: The class to reach; None for any misclassification.
        eot: Noise draws of a randomized model averaged in each gradient.

    Raises:
        EscrimeError: For a setting out of range, and an unknown loss.
    """

    eps: Epsilon
    steps: int = 50
    places: int = 4
    angle: float = 20.0
    smallest: float = 0.8
    loss: str = "margin"
    target: int | None = None
    eot: int = 1

    norms = ("patch",)
    access = "gradients"
    paper = "Brown, Mané, Roy, Abadi, Gilmer (2017), Adversarial patch, arXiv:1712.09665"
    norm = "patch"
    early_stop = False  # a success at one place says nothing of the next one
    manner = ""  # who cannot choose the place does less than a single step that does

    def __post_init__(self) -> None:
        super().__post_init__()
        check_loss(self.loss)
        self._put(check_whole, "steps", hint="such as 50")
        self._put(check_whole, "places", hint="such as 4")
        self._put(check_real, "angle", low=0, high=180, hint="such as 20, in degrees, or 0 for none")
        self._put(check_real, "smallest", above=0, high=1, hint="such as 0.8, or 1 for one size")

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        keys, copies = inputs.keys(self.name), passes_per_image(twin.model)
        logits, before = clean_logits(twin, inputs, derive(keys, CLEAN), self.eot)
        predicted = logits.argmax(1)
        wrong = (predicted != inputs.labels if inputs.targets is None else predicted == inputs.targets).cpu()
        batches, outcomes = Batches.of(inputs.images, copies * self.eot * self.places), []
        for eps, here in zip(budgets, wanted & ~wrong, strict=True):
            moved, steps = inputs.images.clone(), torch.zeros(len(eps))
            for side in eps[here & (eps > 0)].unique().tolist():
                rows = ((eps == side) & here).nonzero().flatten()

                def part(at: slice, rows: Tensor = rows, side: float = side) -> Tensor:
                    return self._made(twin, inputs.only(rows[at].to(inputs.images.device)), keys[rows[at]], side)

                moved[rows.to(moved.device)] = torch.cat(batches.map(part, len(rows)))
                steps[rows] = float(self.steps)
            passes = steps * (self.places * self.eot * copies)
            outcomes.append(Outcome(moved, passes + before / len(budgets), passes))
        return outcomes

    def _made(self, twin: Twin, some: Inputs, keys: Tensor, side: float) -> Tensor:
        """The images with their patches, (N, C, H, W). keys: of the place where each is judged, (N,)."""
        n, count = len(some.images), self.places
        many = some.only(torch.arange(n, device=some.images.device).repeat_interleave(count))
        sides = torch.full((n * count,), side, device=some.images.device)
        labels = many.labels.repeat_interleave(self.eot)
        aims = None if many.targets is None else many.targets.repeat_interleave(self.eot)
        patch, number = blank(some.images, side).expand(n, -1, -1, -1), torch.arange(count).repeat(n)
        for step in range(self.steps):
            look(n * count * self.eot * passes_per_image(twin.model) if step else 0)  # Batches counts the first
            drawn = derive(derive(derive(keys, STEPS), step).repeat_interleave(count), number)
            given = (patch.repeat_interleave(count, dim=0), many.images, sides, drawn, many.mask, self.angle, self.smallest)
            logits, _, gradient = loss_gradient(
                twin.copy,
                pasted(*given),
                lambda logits: LOSSES[self.loss](logits, labels, aims),
                derive(drawn, NOISE),
                self.eot,
            )
            report_not_finite(many, ~logits.isfinite().all(1).cpu())
            slope = pulled(finite(gradient), *given).unflatten(0, (n, count)).sum(1)
            size = max(STEP, 2 / self.steps) * (1 + math.cos(math.pi * step / self.steps)) / 2
            patch = (patch - size * slope.sign()).clamp(0, 1)
        return pasted((patch * LEVELS).round() / LEVELS, some.images, sides[:n], keys, some.mask, self.angle, self.smallest)
