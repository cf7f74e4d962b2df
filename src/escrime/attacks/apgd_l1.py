"""The steps of APGD in l1. Croce and Hein (2021), Mind the box: l1-APGD for sparse adversarial attacks on image classifiers,
algorithm 1 and section 4."""

import torch
from torch import Tensor

from ..norms import per_image
from .core.iterative import Output, Rows, State, wide

FIRST = 0.2  # share of the values that the first steps move
FEWER = 1.5  # a step moves so many times fewer values than the best iterate changes; also how much shorter one becomes
STEADY = 0.95  # share of the changed values at the last checkpoint above which their number stands still
SHORTEST = 0.1  # step, of ε
BETWEEN = 0.04  # checkpoints, of the steps of a phase
# (share of the steps, radius in ε) of each phase. The paper goes 3ε, 2ε, ε; where ε alone comes first, most images fall there.
PHASES = ((0.3, 1.0), (0.2, 3.0), (0.2, 2.0), (0.3, 1.0))
FEWEST = 10  # steps that are worth dividing


def start(x: Tensor, rows: Rows) -> State:
    """The state of jobs whose first iterates are x (N, C, H, W)."""
    n = len(x)

    def floats(value: float) -> Tensor:
        return torch.full((n,), value, device=x.device)

    return {
        "x": x,
        "lowest_at": x,  # the iterate with the best loss in this phase, adversarial or not
        "lowest_gradient": torch.zeros_like(x),
        "lowest": floats(float("inf")),
        "changed": rows.values.float(),  # of the values, at the last checkpoint
        "moves": (FIRST * rows.values).float(),  # how many values a step moves
        "size": floats(1.0),  # of a step, of the radius
        "since": floats(0.0),  # the last checkpoint
        "taken": floats(0.0),  # steps
    }


def step(state: State, output: Output, rows: Rows, steps: int) -> None:
    """Step from the iterate that `output` is about. steps: that are taken in all."""
    x, gradient = state["x"], output.needed_gradient()
    better = output.loss < state["lowest"]
    state["lowest_at"] = torch.where(wide(better), x, state["lowest_at"])
    state["lowest_gradient"] = torch.where(wide(better), gradient, state["lowest_gradient"])
    state["lowest"] = torch.where(better, output.loss, state["lowest"])

    radius, length, enters = phase(state["taken"], steps)
    due = enters | (state["since"] >= (BETWEEN * length).floor().clamp_min(1))
    begins = project(state["lowest_at"], rows, radius) if enters.any() else state["lowest_at"]
    changed = (begins != rows.images).flatten(1).sum(1).float()
    sparser = due & (enters | (changed < STEADY * state["changed"]))
    shorter = (state["size"] / FEWER).clamp_min(SHORTEST)
    state["size"] = torch.where(sparser, 1.0, torch.where(due, shorter, state["size"]))
    state["moves"] = torch.where(due, changed / FEWER, state["moves"])
    state["changed"] = torch.where(due, changed, state["changed"])
    x = torch.where(wide(sparser), state["lowest_at"], x)
    gradient = torch.where(wide(sparser), state["lowest_gradient"], gradient)
    state["since"] = torch.where(due, 0.0, state["since"]) + 1
    state["taken"] = state["taken"] + 1
    state["lowest"] = state["lowest"].masked_fill(enters, float("inf"))

    far = per_image(rows.eps * radius * state["size"], x).float()
    moved = project(x - far * sparse_sign(gradient, state["moves"]), rows, radius)
    state["x"] = torch.where(wide(enters), begins, moved)


def phase(taken: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the step after so many `taken` (N,): the radius in ε (float64), the steps of its phase, and whether it is the first
    of a phase behind another; (N,) each."""
    radius, length, enters = (
        torch.ones_like(taken, dtype=torch.float64),
        torch.full_like(taken, steps),
        torch.zeros_like(taken).bool(),
    )
    until = 0.0
    for share, factor in PHASES if steps >= FEWEST else ():
        begins, until = round(until * steps), until + share
        here = taken >= begins
        radius = radius.masked_fill(here, factor)
        length = length.masked_fill(here, round(until * steps) - begins)
        enters = enters | ((taken == begins) & (begins > 0))
    return radius, length, enters


def project(x: Tensor, rows: Rows, radius: Tensor) -> Tensor:
    """The nearest points to x (N, C, H, W) in the balls of so many ε (N,), the image outside of the mask."""
    return rows.geometry.project(rows.confined(x), rows.images, rows.eps * radius)


def sparse_sign(gradient: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` (N,) steepest values of each gradient (N, C, H, W), shared among them so that they sum to 1."""
    size = gradient.abs().flatten(1)
    place = count.long().clamp(1, size.shape[1])[:, None] - 1
    least = size.sort(dim=1, descending=True).values.gather(1, place)
    sign = gradient.sign().flatten(1).where(size >= least, 0.0)
    return (sign / sign.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)
