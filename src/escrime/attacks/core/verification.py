"""Which iterates succeed: the copy predicts it, and the original, or many fresh draws of the noise, confirm it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches
from ...randomness import derive
from .batch import Batch
from .gradients import draw_keys
from .inputs import Inputs, report_not_finite
from .predictions import certain
from .rows import DONE, ITERATE, Output
from .stepwise import Stepwise

FRESH = 1 << 40  # beyond every step number: the draws that decide whether an iterate succeeds


@dataclass(frozen=True)
class Verified:
    """What has been found of N iterates; all but the logits on the CPU.

    Args:
        success: Which succeed, (N,) bool.
        won: Whose job ends by that, (N,) bool.
        done: Whose job ends for another reason, (N,) bool.
        logits: (N, K), the original's where it was asked, or an attack would stop at the boundary of the copy.
        passes: Of the original, or of the draws, (N,); None for none.
    """

    success: Tensor
    won: Tensor
    done: Tensor
    logits: Tensor
    passes: Tensor | None


class Verifier:
    """Asks the original wherever a success ends a job or the copy's logits are close.

    Args:
        attack: Whose iterates they are.
        twin: The model and its copy.
        inputs: Of the attack's call.
        batches: Whose limit, in rows of `eot` draws each, holds for the copy.
        bad: (images of the inputs,) bool, where it notes whose logits are not finite.
    """

    def __init__(self, attack: Stepwise, twin: Twin, inputs: Inputs, batches: Batches, bad: Tensor):
        self.attack, self.twin, self.inputs, self.batches, self.bad = attack, twin, inputs, batches, bad
        # An average over noise draws is no prediction: whether it is a success is for the evaluation to judge.
        self.asks_original = (attack.keep_best or attack.early_stop) and attack.eot == 1 and not twin.exact
        self.confirms = attack.eot > 1 and attack.early_stop and attack.confirms

    def verify(
        self,
        batch: Batch,
        output: Output,
        shortfalls: Tensor | None,
        keys: Tensor,
        gives_up: Tensor | None,
        admitted: Tensor | None,
    ) -> Verified:
        """Verify the iterates that `output` is about.

        Args:
            batch: The jobs.
            output: The copy's, for their iterates.
            shortfalls: How far each noise draw is from success, (N, eot), if known.
            keys: Of the noise behind `output`, (N,).
            gives_up: Whose job gives up, (N,) bool; None for none.
            admitted: Which iterates may count, (N,) bool; None for all.

        Returns:
            What has been found.
        """
        found = self._by_original(batch, output, keys, gives_up, admitted)
        if self.confirms and shortfalls is not None:
            won, passes = self._by_draws(batch, shortfalls, admitted)
            return replace(found, success=found.success | won, won=won, passes=passes)
        return replace(found, won=torch.zeros_like(found.won)) if self.confirms else found

    def _by_original(
        self, batch: Batch, output: Output, keys: Tensor, gives_up: Tensor | None, admitted: Tensor | None
    ) -> Verified:
        """The wait for the copy's flags is the only one of a step in which nothing is asked."""
        attack, x, rows, logits = self.attack, batch.state[ITERATE], batch.rows, output.logits
        bad = ~logits.isfinite().all(1)
        claimed = attack.succeeded(logits, rows.labels, rows.targets)
        claimed = claimed if admitted is None else claimed & admitted
        near = attack.near_enough(x, rows) if attack.early_stop else torch.zeros_like(bad)
        near = torch.ones_like(bad) if near is None else near
        unsure = self.twin.uncertain(logits) | near if self.asks_original else torch.zeros_like(bad)
        done = batch.state.get(DONE, torch.zeros_like(bad))
        done = done if gives_up is None else done | gives_up
        flags = torch.stack([bad, claimed, claimed & unsure, near, done]).cpu()
        if flags[0].any():
            self.bad[batch.image[flags[0]]] = True
            report_not_finite(self.inputs, self.bad)
        success, passes = flags[1], None
        if flags[2].any():
            # Under the noise that the copy saw, or the gap between the two would be the noise.
            logits, passes = self.twin.verify(x, logits, draw_keys(keys, 1), claimed, near)
            success = (attack.succeeded(logits, rows.labels, rows.targets) & claimed).cpu()
        return Verified(success, success & flags[3], flags[4], logits, passes)

    def _by_draws(self, batch: Batch, shortfalls: Tensor, admitted: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which iterates (N,) succeed for certain, of those all of whose draws did, where the queries have doubled or are the
        last; and the passes (N,) that took. Their own draws are fresh too, for no step has seen them yet."""
        queries = batch.queries + 1
        due = ((queries & (queries - 1)) == 0) | (queries >= self.attack.queries)
        all_fooled = (shortfalls < 0).all(1) if admitted is None else (shortfalls < 0).all(1) & admitted
        rows = (all_fooled.cpu() & due).nonzero().flatten()
        won, spent = torch.zeros(len(batch), dtype=torch.bool), torch.zeros(len(batch))
        if len(rows):
            at = rows.to(batch.device)
            some = batch.rows.each(lambda name, value: value[at])
            keys = derive(derive(batch.keys[rows], FRESH), batch.queries[rows])
            limit = self.batches.limit * self.attack.eot
            won[rows], spent[rows] = certain(self.twin, batch.state[ITERATE][at], some, keys, limit)
        return won, spent

    def confirmed(self, batch: Batch, at: Tensor, x: Tensor) -> Tensor:
        """Whether x (M, C, H, W) succeed, as the original predicts, (M,) bool. `at` (M,): whose they are. Both on the CPU."""
        logits, rows, there = self.twin.ask(x, draw_keys(batch.keys[at], 1)), batch.rows, at.to(batch.device)
        targets = None if rows.targets is None else rows.targets[there]
        return self.attack.succeeded(logits, rows.labels[there], targets).cpu()
