"""A row of a table in which strength comes first: the best that any peer reaches, and how much sooner escrime is there.

Every peer runs once and is judged. Those that come as near as `slack` to the best of them are timed, in turns with escrime at
the whole budget and at the least budget of a ladder that comes as near; the fastest of them counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from escrime.norms import NORMS

from .models import Subject
from .options import tell
from .timing import in_turns, ratio

Call = Callable[[], Tensor]  # returns examples (N, C, H, W)
POINT, FARTHER = 0.01, 1.02  # of accuracy; of the median distance: what is still as near
ROUNDING = 1 + 1e-4  # of ε, beyond which a peer's example does not count


@dataclass(frozen=True)
class Measure:
    """What a row is about, less being better: `of` takes examples, `slack` what the best peer has to what is still as near."""

    of: Callable[[Tensor], float]
    slack: Callable[[float], float]
    text: Callable[[float], str]


@torch.no_grad()
def fooled(subject: Subject, found: Tensor) -> Tensor:
    """Which of the examples (N, C, H, W) the original model gets wrong, (N,)."""
    return subject.model(found).argmax(1) != subject.labels


def accuracy(subject: Subject, norm: str, eps: float) -> Measure:
    """The share of images that stand at ε; an example beyond ε fools nobody."""

    def of(found: Tensor) -> float:
        within = NORMS[norm].distance(found, subject.images) <= eps * ROUNDING
        return float((~(fooled(subject, found) & within)).double().mean())

    return Measure(of, lambda best: best + POINT, lambda value: f"{value:.1%}")


def distance(subject: Subject, norm: str) -> Measure:
    """The median distance over all images, those that were not fooled at infinity."""

    def of(found: Tensor) -> float:
        far = NORMS[norm].distance(found, subject.images)
        return float(far.where(fooled(subject, found), torch.full_like(far, float("inf"))).median())

    return Measure(of, lambda best: best * FARTHER, lambda value: f"{value:.4g}")


def rows(
    work: str,
    measure: Measure,
    peers: Mapping[str, Call],
    own: Mapping[str, Callable[[int], Call]],
    ladder: Sequence[int],
    rounds: int,
    device: torch.device,
) -> list[str]:
    """Rows of the table, one for each attack of `own`, a call made from a budget; the last of the ladder is the whole one."""
    reached = {}
    for name, call in peers.items():
        try:
            reached[name] = measure.of(call())
        except Exception as error:  # a peer may fail in any way, and the others go on
            tell(f"{work}: {name} failed ({type(error).__name__}: {error})")
    tell(f"{work}: {', '.join(f'{name} {measure.text(value)}' for name, value in reached.items())}")
    if not reached:
        return [f"| {work} | no peer | | | |"]
    best = min(reached, key=lambda name: reached[name])
    enough = measure.slack(reached[best])
    near = {name: peers[name] for name, value in reached.items() if value <= enough}
    found = {name: {} for name in own}
    for name, make in own.items():
        for budget in ladder:
            found[name][budget] = measure.of(make(budget)())
    fewest = {name: next((k for k in ladder if found[name][k] <= enough), None) for name in own}
    chosen = {(name, k): own[name](k) for name in own for k in {ladder[-1], fewest[name] or ladder[-1]}}
    times = in_turns(near | chosen, rounds, device)
    fastest = min(near, key=lambda name: median(times[name]))
    lines = []
    for name in own:
        cells = [
            f"{measure.text(found[name][k])}, {ratio(times[fastest], times[name, k]):.1f}×" if k else "never as near"
            for k in (ladder[-1], fewest[name])
        ]
        least = f"{fewest[name]}: {cells[1]}" if fewest[name] else cells[1]
        lines.append(f"| {work}, {name} | {best} {measure.text(reached[best])} | {fastest} | {cells[0]} | {least} |")
    return lines


HEAD = [
    "| work | the best peer | the fastest as near | ours: reached, faster by | the least budget as near: reached, faster by |",
    "|---" * 5 + "|",
]
