"""Drives iterative attacks: a job is (image, ε, restart) with its own step counter, and the batch is kept full of jobs.

A finished job leaves and the next one enters, so the cost follows the work that is needed; a sweep over ε is one loop.
The attack runs on the faster copy of the model, and a success counts once the original agrees; otherwise the job goes on.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches, passes_per_image
from ...randomness import as_keys, derive
from .base import Outcome
from .batch import Batch
from .inputs import Inputs
from .jobs import EpsGrid, Job
from .predictions import clean_logits
from .progress import Progress
from .query import Query
from .results import Results
from .rows import BEST, BEST_MADE_FROM, ITERATE, MADE_FROM, Output, Rows
from .stepwise import Stepwise
from .verification import Verified, Verifier

START = -1  # in place of a step number, in the key of a start point's randomness
CONFIRMED = -1.0  # rank of an iterate whose success is certain, before adversarial (0) and not (1)


class Loop:
    """Runs jobs; `run()` returns one Outcome per ε.

    Args:
        attack: Whose steps are taken.
        twin: The model and its copy.
        inputs: Of the attack's call.
        budgets: ε of each result and image, (K, N).
        plan: Gives out the jobs.
    """

    def __init__(self, attack: Stepwise, twin: Twin, inputs: Inputs, budgets: Tensor, plan: EpsGrid):
        self.attack, self.twin, self.inputs, self.budgets, self.plan = attack, twin, inputs, budgets, plan
        self.copies = passes_per_image(twin.model)
        self.batches = Batches.of(inputs.images, self.copies * attack.eot)
        self.results = Results(inputs.images, len(budgets))
        self.query = Query(attack, twin, inputs, self.batches)
        self.verifier = Verifier(attack, twin, inputs, self.batches, self.results.bad)
        self.verifies = attack.keep_best or attack.early_stop
        self.aims: Tensor | None = None  # (restarts, N): the class to move towards

    def run(self) -> list[Outcome]:
        attack, inputs = self.attack, self.inputs
        if attack.queries == 0:
            nothing = torch.zeros(len(inputs.images))
            return [Outcome(x, nothing, nothing) for x in self.results.images]
        clean: Tensor | None = None
        before: Tensor | float = 0.0
        if attack.needs_clean_logits:
            clean, before = clean_logits(self.twin, inputs, inputs.keys(attack.name, "clean"), attack.eot)
        aims = [aim for restart in range(attack.runs) if (aim := attack.aims(inputs, clean, restart)) is not None]
        self.aims = torch.stack(aims) if aims else None
        batch: Batch | None = None
        while (batch := self._fill(batch)) is not None:
            batch = self._query(batch)
        return self.results.outcomes(self.plan.sources(), self.copies, before, self.verifies)

    def _fill(self, batch: Batch | None) -> Batch | None:
        """Let waiting jobs into the batch while there is room. None once no job is left."""
        fresh: list[Job] = []
        held = 0 if batch is None else len(batch)
        while held + len(fresh) < self.batches.limit and (job := self.plan.next()):
            last = min(job.restart + self.attack.concurrent, self.attack.runs)
            fresh += [job._replace(restart=restart) for restart in range(job.restart, last)]
            self.results.enter(job, last - job.restart)
        if not fresh:
            return batch if held else None
        return batch.join(self._begin(fresh)) if batch is not None and held else self._begin(fresh)

    def _begin(self, jobs: list[Job]) -> Batch:
        attack, seed, ids = self.attack, self.inputs.seed, self.inputs.ids
        keys = as_keys([(seed, ids[j.image], attack.name, float(self.budgets[j.eps, j.image]), j.restart) for j in jobs])
        rows, device = self._rows(jobs), self.inputs.images.device
        state = attack.start(rows, derive(keys, START))
        state[ITERATE] = rows.confined(state[ITERATE])
        batch = Batch(torch.tensor(jobs), keys, torch.zeros(len(jobs), dtype=torch.int64), rows, state)
        if attack.keep_best:
            batch.state = state | {BEST: state[ITERATE]}
            if MADE_FROM in state:
                batch.state[BEST_MADE_FROM] = state[MADE_FROM]
            batch.rank = torch.full((len(jobs), 2), float("inf"), device=device)
        if attack.give_up is not None:
            batch.progress = Progress.fresh(len(jobs), device)
        return batch

    def _rows(self, jobs: list[Job]) -> Rows:
        inputs, device = self.inputs, self.inputs.images.device
        image, eps, restart = torch.tensor(jobs).T
        budget, image = self.budgets[eps, image].to(device), image.to(device)
        restart = restart.to(device)
        aims = None if self.aims is None else self.aims[restart, image]
        targets = None if inputs.targets is None else inputs.targets[image]
        mask = None if inputs.mask is None else inputs.mask[image]
        own = (inputs.images[image], inputs.labels[image], targets, aims, budget, self.attack.geometry)
        return Rows(*own, mask=mask, restart=restart)

    def _query(self, batch: Batch) -> Batch:
        """Query the model once about every iterate in the batch; let jobs step on or leave. Those that stay."""
        attack, state = self.attack, batch.state
        keys = derive(batch.keys, batch.queries)
        output, shortfalls = self.query.ask(batch, keys)
        evaluated = state[ITERATE]
        admitted = attack.admitted(evaluated, batch.rows)
        gives_up = self._gives_up(batch, output, shortfalls, admitted)
        found = self.verifier.verify(batch, output, shortfalls, keys, gives_up, admitted)
        output = replace(output, success=found.success.to(batch.device), logits=found.logits)
        if attack.keep_best:
            order = (~output.success).float()
            order = order.masked_fill(found.won.to(batch.device), CONFIRMED) if self.verifier.confirms else order
            batch.keep_best(torch.stack([order, attack.rank(output, evaluated, batch.rows)], dim=1), admitted)
        attack.step(state, output, batch.rows)
        state[ITERATE] = batch.rows.confined(state[ITERATE])
        batch.queries += 1
        self._spend(batch, output, found.passes)
        leaving = found.won | found.done | (batch.queries >= attack.queries)
        if attack.concurrent > 1 and attack.early_stop:
            leaving = leaving | self._decided(batch, found)
        if not leaving.any():
            return batch
        self._leave(batch, leaving, found, state[BEST] if attack.keep_best else evaluated if self.verifies else state[ITERATE])
        return batch.only(~leaving)

    def _gives_up(self, batch: Batch, output: Output, shortfalls: Tensor | None, admitted: Tensor | None) -> Tensor | None:
        """The jobs (N,) that give up; None where no job may."""
        attack = self.attack
        if batch.progress is None or attack.give_up is None:
            return None
        remaining = attack.remaining(output, batch.state, batch.rows) if shortfalls is None else shortfalls.amin(1)
        remaining = remaining if admitted is None else remaining.masked_fill(~admitted, float("inf"))
        queries, floor = batch.queries + 1, self.inputs.floor
        return batch.progress.update(attack, attack.give_up, queries, remaining, shortfalls, batch.image, floor)

    def _spend(self, batch: Batch, output: Output, verifying: Tensor | None) -> None:
        """Count the passes of this query: one backward pass, or one per class whose logit was differentiated; and those of
        `verifying` it."""
        backwards = 0 if output.gradient is None else 1 if output.classes is None else output.classes.shape[1]
        cost = torch.full((len(batch),), float(self.attack.eot))
        forwards = sum((extra for extra in (output.more, verifying) if extra is not None), cost)
        self.results.spend(batch.place, forwards, cost * backwards)

    def _decided(self, batch: Batch, found: Verified) -> Tensor:
        """The jobs (N,) of images that one of their jobs has won."""
        won = found.won if self.verifier.confirms else found.success & (found.won | found.done)
        eps, image = batch.place
        decided = torch.zeros_like(self.results.success)
        decided[eps[won], image[won]] = True
        return decided[eps, image]

    def _leave(self, batch: Batch, leaving: Tensor, found: Verified, x: Tensor) -> None:
        """Keep the iterates x of the jobs that leave, and report to the plan. About those that the original has not confirmed
        yet, as they ended no job, it is asked here."""
        attack, results = self.attack, self.results
        gone = leaving.nonzero().flatten()
        at = gone.to(batch.device)
        rank = None if batch.rank is None else batch.rank[at].cpu()
        success = found.success[gone] if rank is None else rank[:, 0] == (CONFIRMED if self.verifier.confirms else 0)
        x = x[at]
        if self.verifier.asks_original and (again := success & ~found.won[gone]).any():
            those = gone[again]
            success[again] = self.verifier.confirmed(batch, those, x[again.to(batch.device)])
            eps, image = batch.place
            results.spend((eps[those], image[those]), torch.ones(len(those)))
        distance = attack.geometry.distance(x, batch.rows.images[at]).cpu()
        made = batch.state.get(BEST_MADE_FROM if attack.keep_best else MADE_FROM)
        made = None if made is None else made[at].cpu()
        for n, numbers in enumerate(batch.jobs[gone].tolist()):
            job = Job(*numbers)
            if results.leave(
                job, x[n], None if rank is None else rank[n], success[n], distance[n], None if made is None else made[n]
            ):
                # Without early stop one success is not enough, as with noise, where it may be a lucky draw.
                ends = bool(results.success[job.eps, job.image]) and attack.early_stop
                first = job._replace(restart=job.restart // attack.concurrent * attack.concurrent)
                self.plan.report(first, ends, float(results.distance[job.eps, job.image]))
