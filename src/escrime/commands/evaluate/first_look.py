"""A first look at a model and its images, before hours are spent on one that was loaded or fed wrongly."""

from functools import cached_property

from ...access import GRADIENTS
from ...errors import EscrimeError
from ...evaluation.budget import LOOKED, images_for_a_look, seconds_per_pass
from ...evaluation.checks.batch import BatchEffect
from ...evaluation.checks.inputs import input_findings
from ...evaluation.images import PART, Source
from ...results.findings import Finding
from .candidate import Candidate

LOOK = 64  # images that tell whether the model was loaded and fed rightly
# Alarms after which nobody wants a number.
REFUSED = ("sigmoid-output", "near-chance", "one-class", "class-order", "non-finite", "input-range")


class FirstLook:
    """How many images may be looked at within the request's budget, and what is seen on them."""

    def __init__(self, candidate: Candidate, source: Source):
        self.candidate, self.source = candidate, source

    def affordable(self, most: int, passes: int) -> int:
        """How many images, at most `most`, a look may take that asks the model `passes` times about each."""
        budget = self.candidate.request.budget
        return most if budget is None else images_for_a_look(budget, passes, self._each, most)

    @cached_property
    def _each(self) -> float:
        """Seconds that the model takes for an image."""
        return seconds_per_pass(self.candidate.looked_at, self.source.few(LOOKED, self.candidate.request.seed).pixels)

    @property
    def profiled(self) -> int:
        """Images that show how a model is approached."""
        return self.affordable(PART, 21)

    def check(self) -> list[Finding]:
        """What is found about how the model is fed, [] where nobody can tell.

        Raises:
            EscrimeError: For what makes all numbers meaningless, unless the request is to go on anyway.
        """
        request, blind = self.candidate.request, self.candidate.access != GRADIENTS
        images = self.source.few(self.affordable(LOOK, 8), request.seed)
        nothing = BatchEffect(0, 0, "", 0.0, "")  # what company does is looked at later, once
        found = input_findings(
            self.candidate.looked_at,
            images.pixels,
            images.labels,
            False,
            request.seed,
            blind=blind,
            batch=nothing,
            more=self.source.few_pairs(request.seed),
        )
        for finding in found:
            if finding.severity == "alarm" and finding.id in REFUSED:
                if finding.id != "non-finite" and request.anyway:
                    continue
                anyway = "" if finding.id == "non-finite" else " To evaluate it all the same: --anyway."
                raise EscrimeError(f"{finding.message}. {finding.remedy}{anyway}")
            if finding.id == "probabilities" and finding.severity != "passed":
                self.candidate.display.say(f"note: {finding.message}. {finding.remedy}")
        return [finding for finding in found if finding.id == "input-range"]
