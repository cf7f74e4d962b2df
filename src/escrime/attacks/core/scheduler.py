"""Drives iterative attacks: a job is (image, ε, restart) with its own step counter, and the batch is kept full of jobs.

A finished job leaves and the next one enters, so the cost follows the work that is needed; a sweep over ε is one stream.
The attack runs on the faster copy of the model, and a success counts once the original agrees; otherwise the job goes on.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ...models.fast.twin import Twin
from ...models.running import Batches, check_logits, network_batch, passes_per_image
from ...randomness import as_keys, derive
from .base import Outcome
from .gradients import draw_keys, finite
from .inputs import Problem, check_classes, report_not_finite
from .iterative import Answer, IterativeAttack, Rows, State
from .jobs import EpsGrid, Job
from .losses import gap
from .verdicts import certain, clean_logits

START = -1  # in place of a step number, in the key of a start point's randomness
FRESH = 1 << 40  # beyond every step number: the draws that settle whether an iterate succeeds
LITTLE, MANY = 0.05, 1024  # see Stream._idle: a shift of the margin in units of its spread, and the draws that show it
SETTLED = -1.0  # rank of an iterate whose success is certain, before adversarial (0) and not (1)


class Stream:
    """All jobs of one sweep over `budgets` (K, N). `run()` returns one Outcome per ε."""

    def __init__(self, attack: IterativeAttack, twin: Twin, problem: Problem, budgets: Tensor, plan: EpsGrid):
        self.attack, self.twin, self.problem, self.budgets, self.plan = attack, twin, problem, budgets, plan
        self.device, shape = problem.images.device, budgets.shape
        self.jobs = torch.zeros(0, 3, dtype=torch.int64)  # those in the batch: image, ε, restart
        self.keys = self.taken = torch.zeros(0, dtype=torch.int64)  # of each: its key, the answers it has had
        self.rows: Rows | None = None
        self.state: State = {}
        self.result = [problem.images.clone() for _ in budgets]
        self.rank = torch.full((*shape, 2), float("inf"))  # of the answer kept: (not adversarial, rank)
        self.forwards, self.backwards = torch.zeros(shape), torch.zeros(shape)
        self.success = torch.zeros(shape, dtype=torch.bool)
        self.running = torch.zeros(shape, dtype=torch.int64)  # jobs in the batch
        self.away = torch.zeros(shape, dtype=torch.float64)  # the distance of the answer kept
        self.bad = torch.zeros(len(problem.images), dtype=torch.bool)
        self.copies = passes_per_image(twin.model)
        self.batches = Batches(network_batch(problem.images) // (self.copies * attack.eot))
        self.looks = attack.keep_best or attack.early_stop
        # An average over noise draws is nobody's verdict: such an answer is for the evaluation to judge.
        self.verifies = self.looks and attack.eot == 1 and not twin.exact
        self.settles = attack.eot > 1 and attack.early_stop and attack.settles
        self.gaps: Tensor | None = None  # (N, eot) of the last answers: what each draw lacks to success
        self.checked = False

    def run(self) -> list[Outcome]:
        if self.attack.queries == 0:
            nothing = torch.zeros(len(self.problem.images))
            return [Outcome(x, nothing, nothing) for x in self.result]
        clean, looked = None, 0.0
        if self.attack.needs_clean_logits:
            clean, looked = clean_logits(self.twin, self.problem, self.problem.keys(self.attack.name, "clean"), self.attack.eot)
        aims = [self.attack.aims(self.problem, clean, restart) for restart in range(self.attack.runs)]
        self.aims = None if aims[0] is None else torch.stack(aims)
        while self._fill():
            self._query()
        forwards, backwards = self.forwards * self.copies + looked / len(self.budgets), self.backwards * self.copies
        outcomes = []
        for k, sources in enumerate(self._sources()):
            adversarial, success = self.result[k], self.success[k]
            if sources is not None:
                adversarial = torch.stack(
                    [self.problem.images[i] if at < 0 else self.result[at][i] for i, at in enumerate(sources)]
                )
                success = torch.tensor([at >= 0 and bool(self.success[at, i]) for i, at in enumerate(sources)])
            outcomes.append(Outcome(adversarial, forwards[k], backwards[k], success if self.looks else None))
        return outcomes

    def _sources(self) -> list:
        sources = self.plan.sources()
        return [None] * len(self.budgets) if sources is None else sources.tolist()

    def _fill(self) -> bool:
        """Let waiting jobs into the batch while there is room. Whether the batch holds any job."""
        fresh, attack = [], self.attack
        while len(self.jobs) + len(fresh) < self.batches.limit and (job := self.plan.next()):
            last = min(job.restart + attack.abreast, attack.runs)
            fresh += [job._replace(restart=restart) for restart in range(job.restart, last)]
            self.running[job.eps, job.image] = last - job.restart
        if fresh:
            seed, name, ids = self.problem.seed, self.attack.name, self.problem.ids
            keys = as_keys([(seed, ids[j.image], name, float(self.budgets[j.eps, j.image]), j.restart) for j in fresh])
            rows = self._rows(fresh)
            state = self.attack.start(rows, derive(keys, START))
            if self.attack.keep_best:
                state |= {"best": state["x"], "rank": torch.full((len(fresh), 2), float("inf"), device=self.device)}
            if self.attack.give_up is not None:
                far = torch.full((len(fresh),), float("inf"), device=self.device)
                state = {"done": far < 0} | state | {"remaining": far, "remained": far, "began": far}
                none = torch.zeros(len(fresh), device=self.device)
                state |= {"level": far, "falling": none, "spread": none}
            if len(self.jobs):
                state = {name: torch.cat([self.state[name], value]) for name, value in state.items()}
                rows = self.rows.each(lambda name, old: torch.cat([old, getattr(rows, name)]))
            self.state, self.rows = state, rows
            self.jobs = torch.cat([self.jobs, torch.tensor(fresh)])
            self.keys = torch.cat([self.keys, keys])
            self.taken = torch.cat([self.taken, torch.zeros(len(fresh), dtype=torch.int64)])
        return len(self.jobs) > 0

    def _query(self) -> None:
        """Ask the model once about every iterate in the batch; let jobs step on or leave."""
        attack, state, rows = self.attack, self.state, self.rows
        keys = derive(self.keys, self.taken)
        answer = self._ask(state["x"], keys)
        if attack.give_up is not None:
            self._look_ahead(answer)
        success, won, done, logits, asked = self._verify(state["x"], answer, keys)
        if self.settles and self.gaps is not None:
            won, asked = self._settled(state["x"])
            success = success | won
        elif self.settles:
            won = torch.zeros_like(won)
        answer = replace(answer, success=success.to(self.device), logits=logits)
        if attack.keep_best:
            order = (~answer.success).float()
            order = order.masked_fill(won.to(self.device), SETTLED) if self.settles else order
            _keep_best(state, torch.stack([order, attack.rank(answer, state["x"], rows)], dim=1))
        evaluated = state["x"]
        attack.step(state, answer, rows)
        self.taken += 1
        self._spend(answer, asked)
        leaving = won | done | (self.taken >= attack.queries)
        if attack.abreast > 1 and attack.early_stop:
            leaving = leaving | self._decided(won if self.settles else success & (won | done))
        if leaving.any():
            answers = state["best"] if attack.keep_best else evaluated if self.looks else state["x"]
            self._leave(leaving, success, won, answers)

    def _settled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which iterates (N,) succeed for certain, of those all of whose draws did, where the answers have doubled or are the
        last; and the passes (N,) that took. Their own draws are fresh too, for no step has seen them yet."""
        had = self.taken + 1
        due = ((had & (had - 1)) == 0) | (had >= self.attack.queries)
        rows = ((self.gaps < 0).all(1).cpu() & due).nonzero().flatten()
        won, spent = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(x))
        if len(rows):
            at = rows.to(self.device)
            some, keys = self.rows.each(lambda name, value: value[at]), derive(derive(self.keys[rows], FRESH), self.taken[rows])
            won[rows], spent[rows] = certain(self.twin, x[at], some, keys, self.batches.limit * self.attack.eot)
        return won, spent

    def _look_ahead(self, answer: Answer) -> None:
        """Mark the jobs that give up as done; see IterativeAttack."""
        attack, state, half = self.attack, self.state, self.attack.patience // 2
        remaining = attack.remaining(answer, state, self.rows) if self.gaps is None else self.gaps.amin(1)
        state["remaining"] = torch.minimum(state["remaining"], remaining.float())
        state["began"] = torch.where(state["began"].isinf(), state["remaining"], state["began"])
        if self.gaps is not None:
            state["falling"] = state["falling"] + self.gaps.mean(1)
            state["spread"] = state["spread"] + self.gaps.var(1)
        had = self.taken + 1
        doublings = (had / half).log2()
        due = (had >= half) & (doublings == doublings.round())
        if not due.any():
            return
        ahead, behind = (attack.queries / had).log2().clamp_min(0).to(self.device), had.log2().to(self.device)
        usual = (state["began"] - state["remaining"]) / behind
        gained = torch.maximum(state["remained"] - state["remaining"], usual)
        hopeless = state["remaining"] > attack.give_up * ahead * gained
        if (floor := self.problem.floor) is not None:
            hopeless &= state["remaining"] > floor[self.jobs[:, 0].to(self.device)]
        due, late = due.to(self.device), (had > half).to(self.device)
        if attack.plateaus and self.gaps is not None:
            hopeless |= self._idle(had, ahead, due)
        state["done"] = state["done"] | (due & late & hopeless)
        state["remained"] = torch.where(due, state["remaining"], state["remained"])

    def _idle(self, had: Tensor, ahead: Tensor, due: Tensor) -> Tensor:
        """Which jobs (N,) no longer fall: the margin, averaged over the answers (and their draws) since the last look, is below
        that of the look before by so little that all coming doublings, each `give_up` times as good, would not shift it by
        LITTLE of its spread over the noise. For Gaussian noise that is 2 points of the chance to be right."""
        attack, state, half = self.attack, self.state, self.attack.patience // 2
        count = torch.where(had > half, had // 2, had).to(self.device)
        level, spread = state["falling"] / count, (state["spread"] / count).sqrt()
        idle = attack.give_up * ahead * (state["level"] - level) < LITTLE * spread
        idle &= count * attack.eot >= MANY  # or the average is chance itself
        state["level"] = torch.where(due, level, state["level"])
        state["falling"], state["spread"] = (state[name].masked_fill(due, 0.0) for name in ("falling", "spread"))
        return idle

    def _ask(self, x: Tensor, keys: Tensor) -> Answer:
        """The answers of the copy, in as many batches as memory asks for."""

        noisy = self.attack.eot > 1 and self.attack.settles
        gaps = torch.full((len(x), self.attack.eot), float("inf"), device=self.device)

        def part(at: slice) -> Answer:
            rows = self.rows.each(lambda name, value: value[at])
            labels, aims = (None if t is None else t.repeat_interleave(self.attack.eot) for t in (rows.labels, rows.aims))
            goals = None if rows.targets is None else rows.targets.repeat_interleave(self.attack.eot)

            def loss(logits: Tensor) -> Tensor:
                if noisy:
                    gaps[at] = gap(logits.detach(), labels, goals).view(-1, self.attack.eot)
                return self.attack.objective(logits, labels, aims)

            answer = self.attack.ask(self._network, x[at], loss, rows, keys[at])
            return answer if answer.gradient is None else replace(answer, gradient=finite(answer.gradient))

        answers = self.batches.map(part, len(x))
        self.gaps = gaps if noisy and bool(gaps.isfinite().all()) else None  # an attack may ask without its objective
        if len(answers) > 1:
            parts = {name: [getattr(answer, name) for answer in answers] for name in vars(answers[0])}
            answers = [Answer(**{name: None if p[0] is None else torch.cat(p) for name, p in parts.items()})]
        return answers[0]

    def _network(self, x: Tensor) -> Tensor:
        logits = check_logits(self.twin.copy(x), x)
        if not self.checked:
            check_classes(self.problem, logits.shape[1])
            self.checked = True
        return logits

    def _verify(self, x: Tensor, answer: Answer, keys: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Which iterates succeed, as the original says wherever that ends a job or the copy's answer is close; which jobs
        end by that, and which because they were done; the logits, the original's where it was asked, or an attack would
        stop at the boundary of the copy; and whom it was asked about.

        All but the logits on the CPU. The wait for the copy's flags is the only one of a step in which nothing is asked.
        """
        rows, logits = self.rows, answer.logits
        bad = ~logits.isfinite().all(1)
        claimed = self.attack.succeeded(logits, rows.labels, rows.targets)
        near = self.attack.near_enough(x, rows) if self.attack.early_stop else torch.zeros_like(bad)
        near = torch.ones_like(bad) if near is None else near
        unsure = self.twin.doubtful(logits) | near if self.verifies else torch.zeros_like(bad)
        flags = torch.stack([bad, claimed, claimed & unsure, near, self.state.get("done", torch.zeros_like(bad))]).cpu()
        if flags[0].any():
            self.bad[self.jobs[flags[0], 0]] = True
            report_not_finite(self.problem, self.bad)
        success, asked = flags[1], None
        if flags[2].any():
            # Under the noise that the copy saw, or the gap between the two would be the noise.
            logits, asked = self.twin.settle(x, logits, draw_keys(keys, 1), claimed, near)
            success = (self.attack.succeeded(logits, rows.labels, rows.targets) & claimed).cpu()
        return success, success & flags[3], flags[4], logits, asked

    def _spend(self, answer: Answer, asked: Tensor | None) -> None:
        """Count the passes of this answer: one backward pass, or one per class whose logit was differentiated."""
        backwards = 0 if answer.gradient is None else 1 if answer.classes is None else answer.classes.shape[1]
        place = (self.jobs[:, 1], self.jobs[:, 0])
        cost = torch.full((len(self.jobs),), float(self.attack.eot))
        self.backwards.index_put_(place, cost * backwards, accumulate=True)
        self.forwards.index_put_(place, cost if asked is None else cost + asked, accumulate=True)

    def _leave(self, leaving: Tensor, success: Tensor, verified: Tensor, answer: Tensor) -> None:
        """Keep the answers of the jobs that leave, report to the plan, close the gap in the batch. What the original has not
        `verified` yet, as it ended no job, it is asked about here."""
        gone = leaving.nonzero().flatten()
        at = gone.to(self.device)
        rank = self.state["rank"][at].cpu() if self.attack.keep_best else None
        won = success[gone] if rank is None else rank[:, 0] == (SETTLED if self.settles else 0)
        answer = answer[at]
        if self.verifies and (again := won & ~verified[gone]).any():
            rows, those = self.rows.each(lambda name, value: value[at]), again.to(self.device)
            logits = self.twin.ask(answer[those], draw_keys(self.keys[gone][again], 1))
            aims = None if rows.targets is None else rows.targets[those]
            won[again] = self.attack.succeeded(logits, rows.labels[those], aims).cpu()
            place = (self.jobs[gone[again], 1], self.jobs[gone[again], 0])
            self.forwards.index_put_(place, torch.ones(len(place[0])), accumulate=True)
        away = self.attack.geometry.distance(answer, self.rows.images[at]).cpu()
        for n, numbers in enumerate(self.jobs[gone].tolist()):
            job = Job(*numbers)
            place = (job.eps, job.image)
            if rank is None or tuple(rank[n]) < tuple(self.rank[place]):
                self.result[job.eps][job.image] = answer[n]
                self.success[place], self.away[place] = won[n], away[n]
                if rank is not None:
                    self.rank[place] = rank[n]
            self.running[place] -= 1
            if self.running[place] == 0:
                # Without early stop one success is not enough, as with noise, where it may be a lucky draw.
                first = job._replace(restart=job.restart // self.attack.abreast * self.attack.abreast)
                self.plan.report(first, bool(self.success[place]) and self.attack.early_stop, float(self.away[place]))
        stay = ~leaving
        kept = stay.nonzero().flatten().to(self.device)
        self.state = {name: value[kept] for name, value in self.state.items()}
        self.rows = self.rows.each(lambda name, value: value[kept])
        self.jobs, self.keys, self.taken = self.jobs[stay], self.keys[stay], self.taken[stay]

    def _decided(self, won: Tensor) -> Tensor:
        """The jobs (N,) of images that one of their jobs has won."""
        decided = torch.zeros_like(self.success)
        decided[self.jobs[won, 1], self.jobs[won, 0]] = True
        return decided[self.jobs[:, 1], self.jobs[:, 0]]

    def _rows(self, jobs: list[Job]) -> Rows:
        problem = self.problem
        image, eps, restart = torch.tensor(jobs).T
        budget, image = self.budgets[eps, image].to(self.device), image.to(self.device)
        aims = None if self.aims is None else self.aims[restart.to(self.device), image]
        targets = None if problem.targets is None else problem.targets[image]
        return Rows(problem.images[image], problem.labels[image], targets, aims, budget, self.attack.geometry)


def _keep_best(state: State, rank: Tensor) -> None:
    """Keep the evaluated iterate where it ranks below the best so far: adversarial first, then the lowest rank."""
    old = state["rank"]
    better = (rank[:, 0] < old[:, 0]) | ((rank[:, 0] == old[:, 0]) & (rank[:, 1] < old[:, 1]))
    state["best"] = torch.where(better[:, None, None, None], state["x"], state["best"])
    state["rank"] = torch.where(better[:, None], rank, old)
