"""Losses an attack minimizes: each maps logits (N, K), labels (N,) and the class to reach (N,) or None to one value per row.

The sign is the attack's: lower is closer to success, so untargeted cross-entropy is −J. z are the logits, y the label, t the
class to reach. Each takes the same arguments, as `ce` documents them.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...errors import EscrimeError
from ...validation import check_choice


def ce(logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
    """Cross-entropy J(z, k) = log Σᵢ e^{zᵢ} − z_k: −J(z, y) away from the label, J(z, t) towards a class.

    Args:
        logits: z, (N, K).
        labels: y, int64 (N,).
        aims: t, int64 (N,); None for the loss away from the label.

    Returns:
        One value per row, (N,).
    """
    return -cross_entropy(logits, labels, reduction="none") if aims is None else cross_entropy(logits, aims, reduction="none")


def margin(logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
    """z_y − max_{i≠y} z_i, or towards a class z_y − z_t; it never saturates. Source: Carlini and Wagner (2017), f₆."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    if aims is not None:
        return own - logits.gather(1, aims[:, None]).squeeze(1)
    return own - logits.scatter(1, labels[:, None], float("-inf")).amax(1)


def shortfall(logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
    """Negative exactly where the attack has succeeded: z_y − max_{i≠y} z_i away from the label, max_{i≠t} z_i − z_t towards a
    class.

    Towards a class, `margin` may fall for ever while a third class is on top; this one may not.
    """
    return margin(logits, labels, None) if aims is None else -margin(logits, aims, None)


def dlr(logits: Tensor, labels: Tensor, aims: Tensor | None) -> Tensor:
    """Difference of logits ratio: the margin over a range of the sorted logits, so that scaling the logits changes nothing.

    (z_y − max_{i≠y} z_i) / (z_π1 − z_π3), or towards a class t: (z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2).
    Source: Croce and Hein (2020), Reliable evaluation of adversarial robustness, equations 6 and 7, with the sign turned.

    Raises:
        EscrimeError: With fewer than 3 classes, or 4 towards a class.
    """
    needed = 3 if aims is None else 4
    if logits.shape[1] < needed:
        raise EscrimeError(f"the DLR loss needs {needed} classes and the model has {logits.shape[1]}; use loss='margin'.")
    top = logits.topk(needed, dim=1).values
    spread = top[:, 0] - (top[:, 2] if aims is None else (top[:, 2] + top[:, 3]) / 2)
    return margin(logits, labels, aims) / (spread + 1e-12)


LOSSES = {"ce": ce, "margin": margin, "dlr": dlr}


def check_loss(name: str) -> str:
    """Return `name` if it is a loss of LOSSES; EscrimeError otherwise."""
    return check_choice("loss", name, LOSSES)


def next_classes(logits: Tensor, labels: Tensor, rank: int) -> Tensor:
    """The class that is `rank`-th by logit among those that are not the label.

    Args:
        logits: (N, K).
        labels: int64 (N,).
        rank: From 0, the most likely.

    Returns:
        int64 (N,).

    Raises:
        EscrimeError: Where there are not so many other classes.
    """
    others = logits.scatter(1, labels[:, None], float("-inf"))
    if rank >= logits.shape[1] - 1:
        raise EscrimeError(
            f"there are {logits.shape[1] - 1} other classes, so the {rank + 1}-th does not exist; ask for fewer."
        )
    return torch.argsort(others, dim=1, descending=True, stable=True)[:, rank]
