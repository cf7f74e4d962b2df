"""Asks the copy of the model about the iterates in the batch."""

from dataclasses import replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits
from .batch import Batch
from .gradients import finite
from .inputs import Inputs, check_classes
from .losses import shortfall
from .rows import ITERATE, Output
from .stepwise import Stepwise


class Query:
    """One question about every iterate, in as many batches as memory asks for."""

    def __init__(self, attack: Stepwise, twin: Twin, inputs: Inputs, batches: Batches):
        self.attack, self.twin, self.inputs, self.batches = attack, twin, inputs, batches
        self.notes_shortfalls = attack.eot > 1 and attack.confirms
        self.checked = False  # whether the model has the classes of the labels

    def ask(self, batch: Batch, keys: Tensor) -> tuple[Output, Tensor | None]:
        """The copy's answers under the noise of `keys` (N,); against noise also what each draw lacks to success, (N, eot), if
        the attack `confirms`."""
        x, eot = batch.state[ITERATE], self.attack.eot
        shortfalls = torch.full((len(x), eot), float("inf"), device=batch.device)

        def part(at: slice) -> Output:
            rows = batch.rows.each(lambda name, value: value[at])
            labels, aims = (None if t is None else t.repeat_interleave(eot) for t in (rows.labels, rows.aims))
            goals = None if rows.targets is None else rows.targets.repeat_interleave(eot)

            def loss(logits: Tensor) -> Tensor:
                if self.notes_shortfalls:
                    shortfalls[at] = shortfall(logits.detach(), labels, goals).view(-1, eot)
                return self.attack.objective(logits, labels, aims)

            output = self.attack.ask(self._network, x[at], loss, rows, keys[at])
            return output if output.gradient is None else replace(output, gradient=finite(output.gradient))

        outputs = self.batches.map(part, len(x))
        known = self.notes_shortfalls and bool(shortfalls.isfinite().all())  # an attack may ask without its objective
        if len(outputs) > 1:
            parts = {name: [getattr(output, name) for output in outputs] for name in vars(outputs[0])}
            outputs = [Output(**{name: None if p[0] is None else torch.cat(p) for name, p in parts.items()})]
        return outputs[0], shortfalls if known else None

    def _network(self, x: Tensor) -> Tensor:
        logits = check_logits(self.twin.copy(x), x)
        if not self.checked:
            check_classes(self.inputs, logits.shape[1])
            self.checked = True
        return logits
