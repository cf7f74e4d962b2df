"""A row of a table in which strength comes first: the best that any peer reaches, and how much sooner escrime is there.

Every peer runs once and is judged. Of those that come as near as `slack` to the best of them the fastest is raced, in turns
with escrime at the whole budget and at the least budget of a ladder that comes as near. One thread; on a CPU its own time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from escrime.norms import NORMS

from .models import Subject
from .options import tell
from .timing import in_turns, one_thread, ratio, timed

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


@dataclass(frozen=True)
class Run:
    """A peer's attack, what it made, and the seconds that took."""

    call: Call
    found: Tensor
    seconds: float


def run(peers: Mapping[str, Call], device: torch.device) -> dict[str, Run]:
    """Every peer once; one that fails is left out, with a line that says so."""
    runs = {}
    for name, call in peers.items():
        try:
            took, found = timed(call, device, one_thread(device))
        except Exception as error:  # a peer may fail in any way, and the others go on
            tell(f"{name} failed ({type(error).__name__}: {error})")
        else:
            runs[name] = Run(call, found, took)
    return runs


def rows(
    work: str,
    measure: Measure,
    peers: Mapping[str, Run],
    own: Mapping[str, Callable[[int], Call]],
    ladder: Sequence[int],
    rounds: int,
    device: torch.device,
) -> list[str]:
    """Rows of the table, one for each attack of `own`, a call made from a budget; the last of the ladder is the whole one."""
    reached = {name: measure.of(run.found) for name, run in peers.items()}
    tell(f"{work}: {', '.join(f'{name} {measure.text(value)}' for name, value in reached.items())}")
    if not reached:
        return [f"| {work} | no peer | | | |"]
    best = min(reached, key=lambda name: reached[name])
    enough = measure.slack(reached[best])
    fastest = min((name for name, value in reached.items() if value <= enough), key=lambda name: peers[name].seconds)
    attacks = {name: _climbed(measure, make, ladder, enough) for name, make in own.items()}
    chosen = {(name, k): own[name](k) for name, values in attacks.items() for k in values}
    times = in_turns({fastest: peers[fastest].call} | chosen, rounds, device, one_thread(device))
    lines = []
    for name, values in attacks.items():
        cell = {k: f"{measure.text(value)}, {ratio(times[fastest], times[name, k]):.1f}×" for k, value in values.items()}
        least = next((f"{k}: {cell[k]}" for k in sorted(values) if values[k] <= enough), "never as near")
        lines.append(f"| {work}, {name} | {best} {measure.text(reached[best])} | {fastest} | {cell[ladder[-1]]} | {least} |")
    return lines


def _climbed(measure: Measure, make: Callable[[int], Call], ladder: Sequence[int], enough: float) -> dict[int, float]:
    """What an attack reaches at the least budget of the ladder that is enough, and at the whole one."""
    for budget in ladder:
        value = measure.of(make(budget)())
        if value <= enough:
            break
    return {budget: value, ladder[-1]: value if budget == ladder[-1] else measure.of(make(ladder[-1])())}


HEAD = [
    "| work | the best peer | the fastest as near | ours: reached, faster by | the least budget as near: reached, faster by |",
    "|---" * 5 + "|",
]
