"""One row of the speed table in one setting: find the fastest peer, race it, compare what the two sides achieved."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .models import Setting, Subject
from .passes import Counted
from .rows import Row, paper_grid
from .timing import fastest, race
from .work import Work

QUALIFYING_ROUNDS = 3


@dataclass(frozen=True)
class Side:
    """What one side achieved: passes per image over the whole work, and at every ε the share of images still classified
    right and the share called the target class."""

    name: str
    forwards: float
    backwards: float
    accuracy: tuple[float, ...]
    reached: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """A measured row; with `skipped`, the reason why it was not measured. ratios: of every round; seconds: of both sides."""

    row: str
    title: str
    setting: str
    goal: float | None
    images: int = 0
    epsilons: tuple[float, ...] = ()
    ratio: float | None = None
    ratios: tuple[float, ...] = ()
    seconds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    ours: Side | None = None
    peer: Side | None = None
    full: Side | None = None
    notes: tuple[str, ...] = ()
    skipped: str = ""


def contest(row: Row, setting: Setting, subject: Subject, peers: list, rounds: int, target: int) -> Result:
    """Run the row. The peers qualify on the work in little; the fastest of them runs all of it against escrime."""
    result = Result(row.key, row.title, setting.title, row.goals[setting.name], len(subject.images))
    if missing := row.missing():
        return replace(result, skipped=f"escrime does not have {' and '.join(missing)} yet")
    able = {peer.name: getattr(peer, row.method) for peer in peers if hasattr(peer, row.method)}
    if not able:
        return replace(result, skipped="no installed peer has this attack")
    epsilons = paper_grid(row.grid) if row.grid else (setting.eps,)
    work = Work(subject.model, subject.images, subject.labels, epsilons, row.steps, target)
    device = subject.images.device
    little = work.few() if row.few else work.short()
    row.ours(little)
    name, dropped = fastest({name: _seeded(call, little) for name, call in able.items()}, QUALIFYING_ROUNDS, device)
    if name is None:
        return replace(result, skipped=" ".join(dropped))
    times = race(_seeded(able[name], work), lambda: row.ours(work), rounds, device)
    peer = _side(name, able[name], work, row.cumulative)
    ours = _side("escrime", row.ours, work, cumulative=False)  # its own worst-case curve has to show in its examples
    notes = [f"not raced: {', '.join(sorted(able.keys() - {name}))} (slower in the qualifying rounds)"] if len(able) > 1 else []
    # No peer has DGSM: how often the target should be reached, DGSM itself says, with all its steps at every ε.
    full = _side("in full", row.in_full, work, row.cumulative) if row.directed else None
    notes += [*dropped, *_shortfalls(row, epsilons, ours, peer, full)]
    if subject.random:
        notes.append("random weights: the accuracies mean nothing, and a ratio that depends on early success neither")
    return replace(
        result,
        epsilons=epsilons,
        ratio=times.ratio,
        ratios=tuple(times.ratios),
        seconds={"ours": times.ours, "peer": times.theirs},
        ours=ours,
        peer=peer,
        full=full,
        notes=tuple(notes),
    )


def _seeded(call, work: Work):
    """The call with the same random starts in every round; escrime seeds itself."""

    def run():
        torch.manual_seed(0)
        return call(work)

    return run


def _side(name: str, call, work: Work, cumulative: bool) -> Side:
    """Run once more, untimed, with the passes counted; judge the examples on the original model.

    cumulative: what fell at one ε of an ascending grid, fell at every larger one.
    """
    counted = Counted(work.model).eval()
    found = _seeded(call, replace(work, model=counted))()
    right, reached = _verdicts(found, work)
    if cumulative:
        right, reached = right.long().cummin(0).values, reached.long().cummax(0).values
    n, shares = len(work.images), lambda flags: tuple(flags.double().mean(1).tolist())  # noqa: E731
    return Side(name, counted.tally.forwards / n, counted.tally.backwards / n, shares(right), shares(reached))


@torch.no_grad()
def _verdicts(found: list[Tensor], work: Work) -> tuple[Tensor, Tensor]:
    """Which images (K, N) are still classified right, and which are called the target."""
    predicted = torch.stack([work.model(adversarial).argmax(1) for adversarial in found])
    return predicted == work.labels, predicted == work.target


def _shortfalls(row: Row, epsilons: tuple[float, ...], ours: Side, peer: Side, full: Side | None) -> list[str]:
    """Where escrime's attack achieved less: accuracy against the peer's, and of a directed attack the target against the
    same attack in full. A worst-case curve of a directed attack is about the target alone."""
    weaker = []
    if not row.cumulative:
        weaker += [
            f"WEAKER at ε = {eps:g}: accuracy {a:.1%} against {b:.1%}"
            for eps, a, b in zip(epsilons, ours.accuracy, peer.accuracy, strict=True)
            if a > b
        ]
    if full is not None:
        weaker += [
            f"WEAKER at ε = {eps:g}: target reached by {a:.1%} against {b:.1%} with all steps"
            for eps, a, b in zip(epsilons, ours.reached, full.reached, strict=True)
            if a < b
        ]
    return weaker
