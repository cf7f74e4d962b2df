"""Which iterates succeed: the copy claims it, and the original, or many fresh draws of the noise, confirm it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches
from ...randomness import derive
from .batch import Batch
from .gradients import draw_keys
from .inputs import Inputs, report_not_finite
from .rows import DONE, ITERATE, Output
from .stepwise import Stepwise
from .verdicts import certain

FRESH = 1 << 40  # beyond every step number: the draws that settle whether an iterate succeeds


@dataclass(frozen=True)
class Verdict:
    """What has been found of N iterates; all but the logits on the CPU.

    success (N,): which succeed. won (N,): whose job ends by that. done (N,): whose job ends because it is done. logits (N, K):
    the original's where it was asked, or an attack would stop at the boundary of the copy. asked (N,): the passes of the
    original, or of the draws, or None for none.
    """

    success: Tensor
    won: Tensor
    done: Tensor
    logits: Tensor
    asked: Tensor | None


class Verifier:
    """Asks the original wherever a success ends a job or the copy's answer is close.

    batches: whose limit, in rows of `eot` draws each, holds for the copy. bad (images of the problem,) bool: where it notes
    whose logits are not finite.
    """

    def __init__(self, attack: Stepwise, twin: Twin, inputs: Inputs, batches: Batches, bad: Tensor):
        self.attack, self.twin, self.inputs, self.batches, self.bad = attack, twin, inputs, batches, bad
        # An average over noise draws is nobody's verdict: such an answer is for the evaluation to judge.
        self.asks_original = (attack.keep_best or attack.early_stop) and attack.eot == 1 and not twin.exact
        self.confirms = attack.eot > 1 and attack.early_stop and attack.confirms

    def verdict(
        self, batch: Batch, output: Output, shortfalls: Tensor | None, keys: Tensor, hopeless: Tensor | None
    ) -> Verdict:
        """Of the iterates that `output` is about. shortfalls (N, eot), if known: what each draw lacks to success. keys (N,):
        the randomness of the output. hopeless (N,) bool: whose job gives up."""
        found = self._verified(batch, output, keys, hopeless)
        if self.confirms and shortfalls is not None:
            won, asked = self._settled(batch, shortfalls)
            return replace(found, success=found.success | won, won=won, asked=asked)
        return replace(found, won=torch.zeros_like(found.won)) if self.confirms else found

    def _verified(self, batch: Batch, output: Output, keys: Tensor, hopeless: Tensor | None) -> Verdict:
        """The wait for the copy's flags is the only one of a step in which nothing is asked."""
        attack, x, rows, logits = self.attack, batch.state[ITERATE], batch.rows, output.logits
        bad = ~logits.isfinite().all(1)
        claimed = attack.succeeded(logits, rows.labels, rows.targets)
        near = attack.near_enough(x, rows) if attack.early_stop else torch.zeros_like(bad)
        near = torch.ones_like(bad) if near is None else near
        unsure = self.twin.doubtful(logits) | near if self.asks_original else torch.zeros_like(bad)
        done = batch.state.get(DONE, torch.zeros_like(bad))
        done = done if hopeless is None else done | hopeless
        flags = torch.stack([bad, claimed, claimed & unsure, near, done]).cpu()
        if flags[0].any():
            self.bad[batch.image[flags[0]]] = True
            report_not_finite(self.inputs, self.bad)
        success, asked = flags[1], None
        if flags[2].any():
            # Under the noise that the copy saw, or the gap between the two would be the noise.
            logits, asked = self.twin.verify(x, logits, draw_keys(keys, 1), claimed, near)
            success = (attack.succeeded(logits, rows.labels, rows.targets) & claimed).cpu()
        return Verdict(success, success & flags[3], flags[4], logits, asked)

    def _settled(self, batch: Batch, shortfalls: Tensor) -> tuple[Tensor, Tensor]:
        """Which iterates (N,) succeed for certain, of those all of whose draws did, where the answers have doubled or are the
        last; and the passes (N,) that took. Their own draws are fresh too, for no step has seen them yet."""
        had = batch.taken + 1
        due = ((had & (had - 1)) == 0) | (had >= self.attack.queries)
        rows = ((shortfalls < 0).all(1).cpu() & due).nonzero().flatten()
        won, spent = torch.zeros(len(batch), dtype=torch.bool), torch.zeros(len(batch))
        if len(rows):
            at = rows.to(batch.device)
            some = batch.rows.each(lambda name, value: value[at])
            keys = derive(derive(batch.keys[rows], FRESH), batch.taken[rows])
            limit = self.batches.limit * self.attack.eot
            won[rows], spent[rows] = certain(self.twin, batch.state[ITERATE][at], some, keys, limit)
        return won, spent

    def confirmed(self, batch: Batch, at: Tensor, x: Tensor) -> Tensor:
        """Whether x (M, C, H, W) succeed, as the original says, (M,) bool on the CPU. `at` (M,), on the CPU: whose they are."""
        logits, rows, there = self.twin.ask(x, draw_keys(batch.keys[at], 1)), batch.rows, at.to(batch.device)
        targets = None if rows.targets is None else rows.targets[there]
        return self.attack.succeeded(logits, rows.labels[there], targets).cpu()
