"""Logits inside a model, for one whose own are flat: what a defense rounds, saturates, or turns into votes was a score before.

Athalye, Carlini and Wagner (2018), Obfuscated gradients give a false sense of security: attack what the network computes, not
what is made of it. Where no table of the model predicts as it does, one is taught to: a linear head on the best features, a
substitute that learned the model's labels (Papernot et al., 2017, Practical black-box attacks against machine learning).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .bpda import inner_tables

AGREES = 0.9  # share of the images for which inner logits must predict what the model predicts,
TAUGHT = 0.7  # and a head that was taught, on images that it did not learn from
WIDEST, MOST = 4096, 64  # features of a table, and tables that a head is taught on
RIDGE = 1e-2
SAME = 1e-3  # how far, relative, two tables that are the same may differ


@dataclass(frozen=True)
class Inner:
    """Where in a model a table of numbers can stand in for its logits.

    Args:
        call: The number of the torch call that returns the table, (N·copies, D).
        weight: Of a linear head on it, (D, K); None where the table holds logits already.
        bias: Of that head, (K,).
    """

    call: int
    weight: Tensor | None = field(default=None, repr=False, compare=False)
    bias: Tensor | None = field(default=None, repr=False, compare=False)

    def logits(self, table: Tensor, rows: int) -> Tensor:
        """Logits (N, K) from a table (N·copies, D), means over the copies."""
        table = table.float()
        table = table.unflatten(0, (-1, rows)).mean(0) if len(table) > rows else table
        return table if self.weight is None or self.bias is None else table @ self.weight + self.bias


@torch.no_grad()
def inner_logits(model: nn.Module, images: Tensor, others_only: bool = False) -> Inner | None:
    """The earliest table of a model that predicts as the model does for nearly all images, and differs between them.

    Args:
        model: Images → logits (N, K).
        images: float32 (N, C, H, W) in [0, 1].
        others_only: Whether it must say more of the images than the model's logits times a number do.

    Returns:
        The table, or None where there is none.
    """
    logits, tables = inner_tables(model, images)
    predicted, rows = logits.argmax(1), len(images)
    for call, table in tables:
        if table.shape[1] != logits.shape[1] or len(table) % rows or not table.isfinite().all():
            continue
        table = Inner(call).logits(table, rows)
        agrees = float((table.argmax(1) == predicted).float().mean()) >= AGREES
        if agrees and len(table.unique(dim=0)) > min(rows - 1, table.shape[1]) and not (others_only and _same(table, logits)):
            return Inner(call)
    return None


def _same(table: Tensor, logits: Tensor) -> bool:
    """Whether two tables (N, K) differ by a factor, and by what is added to all classes of an image, only."""
    one, other = (values.double() - values.double().mean(1, keepdim=True) for values in (table, logits))
    factor = (one * other).sum() / one.square().sum().clamp_min(1e-300)
    return bool((factor * one - other).norm() <= SAME * other.norm())


@torch.no_grad()
def taught_logits(model: nn.Module, points: list[Tensor]) -> Inner | None:
    """A linear head on that table of a model from which the predicted labels are learned best: on every second image, measured
    on the others.

    Args:
        model: Images → logits (N, K).
        points: The images (N, C, H, W) and what lies around them, in the same order.

    Returns:
        The head, or None where nothing is learned.
    """
    found = [inner_tables(model, x) for x in points]
    rows, classes = len(points[0]), found[0][0].shape[1]
    labels = torch.stack([logits.argmax(1) for logits, _ in found])
    learned = torch.arange(rows) % 2 == 0
    best, chosen = TAUGHT, None
    for number, (call, table) in enumerate(found[0][1][:MOST]):
        same = [tables[number] for _, tables in found if number < len(tables) and tables[number][0] == call]
        fits = len(same) == len(points) and all(t.shape == table.shape and t.isfinite().all() for _, t in same)
        if not fits or len(table) % rows or not 1 < table.shape[1] <= WIDEST:
            continue
        x = torch.stack([Inner(call).logits(t, rows) for _, t in same])
        head = _ridge(x[:, learned].flatten(0, 1), labels[:, learned].flatten(), classes)
        right = ((x[:, ~learned] @ head[0] + head[1]).argmax(-1) == labels[:, ~learned]).float().mean()
        if float(right) >= best:  # of equals the last: the deepest
            best, chosen = float(right), (call, x)
    if chosen is None:
        return None
    return Inner(chosen[0], *_ridge(chosen[1].flatten(0, 1), labels.flatten(), classes))


def _ridge(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight (D, K) and bias (K,) of a linear classifier by least squares, from features (M, D) and labels (M,)."""
    mean, goal = x.mean(0), torch.nn.functional.one_hot(y, classes).to(x.dtype)
    x, goal, level = x - mean, goal - goal.mean(0), goal.mean(0)
    scale = RIDGE * x.square().sum() / x.shape[1]
    if x.shape[1] <= len(x):
        weight = torch.linalg.solve(x.T @ x + scale * torch.eye(x.shape[1]).to(x), x.T @ goal)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T + scale * torch.eye(len(x)).to(x), goal)
    return weight, level - mean @ weight
