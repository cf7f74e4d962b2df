"""Asks the copy of the model about the iterates in the batch."""

from dataclasses import replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits
from .batch import Batch
from .gradients import finite
from .inputs import Problem, check_classes
from .losses import gap
from .rows import ITERATE, Answer
from .stepwise import Stepwise


class Query:
    """One question about every iterate, in as many batches as memory asks for."""

    def __init__(self, attack: Stepwise, twin: Twin, problem: Problem, batches: Batches):
        self.attack, self.twin, self.problem, self.batches = attack, twin, problem, batches
        self.notes_gaps = attack.eot > 1 and attack.settles
        self.checked = False  # whether the model has the classes of the labels

    def ask(self, batch: Batch, keys: Tensor) -> tuple[Answer, Tensor | None]:
        """The copy's answers under the noise of `keys` (N,); against noise also what each draw lacks to success, (N, eot), if
        the attack `settles`."""
        x, eot = batch.state[ITERATE], self.attack.eot
        gaps = torch.full((len(x), eot), float("inf"), device=batch.device)

        def part(at: slice) -> Answer:
            rows = batch.rows.each(lambda name, value: value[at])
            labels, aims = (None if t is None else t.repeat_interleave(eot) for t in (rows.labels, rows.aims))
            goals = None if rows.targets is None else rows.targets.repeat_interleave(eot)

            def loss(logits: Tensor) -> Tensor:
                if self.notes_gaps:
                    gaps[at] = gap(logits.detach(), labels, goals).view(-1, eot)
                return self.attack.objective(logits, labels, aims)

            answer = self.attack.ask(self._network, x[at], loss, rows, keys[at])
            return answer if answer.gradient is None else replace(answer, gradient=finite(answer.gradient))

        answers = self.batches.map(part, len(x))
        known = self.notes_gaps and bool(gaps.isfinite().all())  # an attack may ask without its objective
        if len(answers) > 1:
            parts = {name: [getattr(answer, name) for answer in answers] for name in vars(answers[0])}
            answers = [Answer(**{name: None if p[0] is None else torch.cat(p) for name, p in parts.items()})]
        return answers[0], gaps if known else None

    def _network(self, x: Tensor) -> Tensor:
        logits = check_logits(self.twin.copy(x), x)
        if not self.checked:
            check_classes(self.problem, logits.shape[1])
            self.checked = True
        return logits
