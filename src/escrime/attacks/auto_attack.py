"""AutoAttack. Croce and Hein (2020), Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, section 5; here with a minimum-norm attack in place of FAB."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..access import SCORES
from ..models.fast.twin import Twin
from ..models.running import network_batch, passes_per_image
from ..norms import DEFAULT
from ..randomness import derive
from .apgd import APGD
from .core.base import Attack, Epsilon, Outcome
from .core.inputs import Inputs
from .core.losses import shortfall
from .core.predictions import certain, clean_logits, expected
from .fmn import FMN
from .patch import Patch
from .pgd import PGD
from .sigma_zero import SigmaZero
from .sparse_rs import SparseRS
from .square import Square

JUDGES = 16  # fresh noise draws that choose between the stages' results on a randomized model


@dataclass(frozen=True)
class AutoAttack(Attack):
    """APGD-CE → targeted APGD-DLR → FMN → Square, each only on the images that still stand: the verdict to quote.

    In l1 APGD down the margin comes second: it takes images there that neither of the other two losses does.
    In l0 it is SigmaZero → FMN → PGD down the margin → SparseRS; of patches Patch → SparseRS.

    With eot > 1 an image is fooled once CERTAIN fresh draws of one result succeed, so that at most 2 % of all draws are still
    classified right; of other images the result with the lowest expected margin is kept. With fewer than four classes the
    margin replaces DLR.

    Source: Croce and Hein (2020), Reliable evaluation of adversarial robustness, section 5; there the third attack is FAB.

    Args:
        eps: The budget, a number, a text such as "8/255" or one number per image: a fraction of the color range in l_inf, a
            length in l2 and l1, a count of pixels in l0, the side of a patch.
        norm: "linf", "l2", "l1", "l0" or "patch".
        steps: Of each gradient attack.
        targets_tried: Classes the targeted attack aims at, in the order of the clean logits, at most K − 1.
        queries: Of the score-based attack; 0 leaves it out.
        target: The class to reach; then APGD with CE, APGD with the targeted DLR loss, FMN and Square all aim at it. None for
            any misclassification.
        early_stop: Whether an image that is fooled is left alone; False runs every stage on every image and keeps the result
            with the lowest expected margin.
        give_up: How soon a stage leaves an image on which success is out of sight (see IterativeAttack); None spends the whole
            budget on every image that is not fooled, as the original does.
        eot: Noise draws of a randomized model averaged in each gradient and for each query.

    Raises:
        EscrimeError: For a setting that one of the stages refuses.
    """

    eps: Epsilon
    norm: str = DEFAULT
    steps: int = 100
    targets_tried: int = 9
    queries: int = 5000
    target: int | None = None
    early_stop: bool = True
    give_up: float | None = 2.0
    eot: int = 1

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "gradients"
    paper = (
        "Croce and Hein (2020), Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks, arXiv:2003.01690"
    )
    confirms = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stages(10, targeted=False)  # refuses settings that a stage would refuse

    def stages(self, classes: int, targeted: bool) -> list[Attack]:
        """The attacks, in order.

        Args:
            classes: K, of the model.
            targeted: Whether there are classes to reach.

        Returns:
            Four attacks, in l1 five, of patches two; one less without that by scores.
        """
        by_scores = [] if self.queries == 0 else [self._by_scores()]
        if self.norm in Patch.norms:
            return [Patch(self.eps, self.steps, early_stop=self.early_stop, eot=self.eot), *by_scores]
        nearest = FMN(self.eps, self.norm, self.steps, eot=self.eot)
        if self.eot == 1:  # the nearest example to the boundary of an average decides nothing
            nearest = replace(nearest, stop_within=self.early_stop, give_up=self.give_up)
        stages = self._counted(nearest) if self.geometry.grain else self._lengths(nearest, classes, targeted)
        return [*stages, *by_scores]

    def _by_scores(self) -> Attack:
        """The search that needs no gradient."""
        settings: dict[str, Any] = dict(early_stop=self.early_stop, give_up=self.give_up, eot=self.eot)
        if self.norm in SparseRS.norms:
            return SparseRS(self.eps, self.queries, self.norm, **settings)
        return Square(self.eps, self.queries, self.norm, **settings)

    def _lengths(self, nearest: FMN, classes: int, targeted: bool) -> list[Attack]:
        """The stages with gradients where ε is a length, `nearest` among them."""
        first = APGD(self.eps, self.steps, norm=self.norm, early_stop=self.early_stop, give_up=self.give_up, eot=self.eot)
        loss = "dlr" if classes >= 4 else "margin"
        tried = 0 if targeted else min(self.targets_tried, classes - 1)
        down = [replace(first, loss="margin")] if self.geometry.sparse else []
        return [first, *down, replace(first, loss=loss, targets_tried=tried), nearest]

    def _counted(self, nearest: FMN) -> list[Attack]:
        """The stages with gradients where ε counts pixels, `nearest` among them."""
        fewest = SigmaZero(self.eps, self.steps, stop_within=nearest.stop_within, give_up=nearest.give_up, eot=self.eot)
        steps = PGD(self.eps, self.steps, norm=self.norm, loss="margin", early_stop=self.early_stop, eot=self.eot)
        return [fewest, nearest, steps]

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        logits, before = clean_logits(twin, inputs, inputs.keys(self.name, "clean"), self.eot)
        predicted = logits.argmax(1)
        wrong = (predicted != inputs.labels if inputs.targets is None else predicted == inputs.targets).cpu()
        # What is wrong from the start is fooled at every ε, as it is; a few draws do not show that.
        standing = wanted & ~(wrong & self.early_stop & (self.eot == 1))
        results = [inputs.images.clone() for _ in budgets]
        forwards, backwards = (before / len(budgets)).repeat(len(budgets), 1), torch.zeros(budgets.shape)
        lowest = torch.full(budgets.shape, float("inf"), dtype=torch.float32)  # the margin of the result kept
        for stage in self.stages(logits.shape[1], inputs.targets is not None):
            rows = standing.any(0).nonzero().flatten()
            if not len(rows):
                break
            part = inputs.only(rows.to(inputs.images.device))
            if stage.access == SCORES:
                # Where a search by scores gets further than the gradients did, they may be hidden: it goes on.
                floor = lowest.masked_fill(~standing, -float("inf"))[:, rows].amax(0)
                part = replace(part, floor=floor.to(inputs.images.device))
            for k, outcome in enumerate(stage._sweep(twin, part, budgets[:, rows], standing[:, rows])):
                forwards[k, rows] += outcome.forwards
                backwards[k, rows] += outcome.backwards
                nothing = torch.zeros(len(rows), dtype=torch.bool)
                fooled = outcome.success.cpu() if self.early_stop and outcome.success is not None else nothing
                fooled = fooled & (stage.confirms or self.eot == 1)
                still = (standing[k, rows] & ~fooled).nonzero().flatten()
                margins = torch.full((len(rows),), -float("inf"), dtype=torch.float32)
                fooled_too = nothing.clone()
                if len(still):
                    at = still.to(inputs.images.device)
                    margins[still], fooled_too[still], spent = self._margin(twin, part.only(at), outcome.adversarial[at])
                    forwards[k, rows[still]] += spent
                better = standing[k, rows] & (margins < lowest[k, rows])
                results[k][rows[better]] = outcome.adversarial[better]
                lowest[k, rows[better]] = margins[better]
                if self.early_stop:
                    fooled |= fooled_too  # what the search for the nearest example put back into the ball may still succeed
                standing[k, rows] &= ~fooled
        success = [~still for still in standing] if self.early_stop else [None] * len(budgets)
        return [Outcome(*parts) for parts in zip(results, forwards, backwards, success, strict=True)]

    def _margin(self, twin: Twin, inputs: Inputs, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far (N,) each of x is from success, whether (N,) it succeeds, and the passes (N,) spent: on a randomized model an
        average over noise that no attack saw, and a success that is certain."""
        judges, keys = JUDGES if self.eot > 1 or not self.early_stop else 1, inputs.keys(self.name, "judge")

        def value(logits: Tensor, at: slice) -> Tensor:
            margins = shortfall(logits, inputs.labels[at], None if inputs.targets is None else inputs.targets[at])
            return torch.stack([margins, (margins >= 0).float()], dim=1)

        values, spent = expected(twin, x, keys, judges, value)
        values, spent = values.cpu(), spent.cpu()
        succeeds = values[:, 1] == 0
        rows = succeeds.nonzero().flatten()
        if self.eot > 1 and self.early_stop and len(rows):
            some, copies = inputs.only(rows.to(x.device)), passes_per_image(twin.model)
            limit = network_batch(x) // copies
            succeeds[rows], more = certain(twin, x[rows.to(x.device)], some, derive(keys[rows], JUDGES), limit)
            spent[rows] += more * copies
        return values[:, 0].float(), succeeds, spent
