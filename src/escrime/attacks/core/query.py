"""Queries the copy of the model about the iterates in the batch."""

from dataclasses import replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits
from .batch import Batch
from .gradients import finite
from .inputs import Inputs, check_classes
from .losses import shortfall
from .masks import inside_only
from .rows import ITERATE, Output
from .stepwise import Stepwise


class Query:
    """One query about every iterate, in as many batches as memory asks for.

    Args:
        attack: Whose iterates they are.
        twin: The model and its copy.
        inputs: Of the attack's call.
        batches: Of at most so many jobs, `eot` rows each.
    """

    def __init__(self, attack: Stepwise, twin: Twin, inputs: Inputs, batches: Batches):
        self.attack, self.twin, self.inputs, self.batches = attack, twin, inputs, batches
        self.keeps_shortfalls = attack.eot > 1 and attack.confirms
        self.checked = False  # whether the model has the classes of the labels

    def ask(self, batch: Batch, keys: Tensor) -> tuple[Output, Tensor | None]:
        """Query the copy.

        Args:
            batch: The jobs.
            keys: Of the noise of each, int64 (N,).

        Returns:
            The outputs, and against noise how far each draw is from success, (N, eot), if the attack `confirms`; else None.
        """
        x, eot = batch.state[ITERATE], self.attack.eot
        shortfalls = torch.full((len(x), eot), float("inf"), device=batch.device)

        def part(at: slice) -> Output:
            rows = batch.rows.each(lambda name, value: value[at])
            labels, aims = rows.labels.repeat_interleave(eot), None if rows.aims is None else rows.aims.repeat_interleave(eot)
            goals = None if rows.targets is None else rows.targets.repeat_interleave(eot)

            def loss(logits: Tensor) -> Tensor:
                if self.keeps_shortfalls:
                    shortfalls[at] = shortfall(logits.detach(), labels, goals).view(-1, eot)
                return self.attack.objective(logits, labels, aims)

            output = self.attack.ask(self._network, x[at], loss, rows, keys[at])
            if output.gradient is None:
                return output
            return replace(output, gradient=inside_only(finite(output.gradient), rows.mask))

        outputs = self.batches.map(part, len(x))
        known = self.keeps_shortfalls and bool(shortfalls.isfinite().all())  # an attack may ask without its objective
        return Output.joined(outputs), shortfalls if known else None

    def _network(self, x: Tensor) -> Tensor:
        logits = check_logits(self.twin.copy(x), x)
        if not self.checked:
            check_classes(self.inputs, logits.shape[1])
            self.checked = True
        return logits
