"""What is true of a member: the share of images for which no example is known that the model itself gets wrong.

An upper bound on its robust accuracy. The examples are those of AutoAttack and of PGD on everything that an attacker may know
to be inside (`Built.known`), of the other networks, and where nothing better is known, of decisions alone on the model.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor

import escrime

from .member import Built, Kit, Member

DRAWS = 64


@contextlib.contextmanager
def seeded(seed: int = 0):
    """A block with global randomness of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def right(member: Member, kit: Kit, images: Tensor, labels: Tensor, draws: int = 1) -> Tensor:
    """(n,) How often the model itself is right about each image, asked as it is used: see Member.alone."""
    with torch.no_grad(), seeded(1):
        if not member.alone:
            model = member.make(kit).model
            return torch.stack([(model(images).argmax(1) == labels).float() for _ in range(draws)]).mean(0)
        alone = [member.make(kit).model(images[i : i + 1]).argmax(1) == labels[i : i + 1] for i in range(len(images))]
        return torch.cat(alone).float()


def on_grid(moved: Tensor, images: Tensor, eps: float) -> Tensor:
    """The nearest 8-bit images inside ε of `images`."""
    low, high = torch.ceil((images - eps).clamp(0, 1) * 255 - 1e-4), torch.floor((images + eps).clamp(0, 1) * 255 + 1e-4)
    return torch.round(moved * 255).clamp(low, high) / 255


def descended(model, images: Tensor, labels: Tensor, eps: float, steps: int = 60) -> Tensor:
    """Signed steps down the margin, none of them the last once it has succeeded: far beyond the boundary of `model`, an
    example survives what a defense does to it."""
    x = (images + eps * torch.empty_like(images).uniform_(-1, 1)).clamp(0, 1)
    for k in range(steps):
        x.requires_grad_(True)
        logits = model(x)
        own = logits.gather(1, labels[:, None])[:, 0]
        margin = own - logits.scatter(1, labels[:, None], float("-inf")).amax(1)
        (gradient,) = torch.autograd.grad(margin.sum(), x)
        x = x.detach() - eps / 4 * (1 - k / steps) * gradient.sign()
        x = x.sub(images).clamp(-eps, eps).add(images).clamp(0, 1)
    return x.detach()


def examples(member: Member, kit: Kit, built: Built, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Images within ε that may fool the model, one batch for each way to find them."""
    eps, found = member.eps, []
    for known in built.known or (built.undefended,):
        place = (known, eps, member.randomized)
        if place not in kit.found or member.photos:  # many members have the same network inside
            kit.found[place] = _against(known, member, images, labels)
        found += kit.found[place]
    if member.randomized:
        found.append(descended(lambda x: torch.stack([built.model(x) for _ in range(8)]).mean(0), images, labels, eps))
    if member.on_model:
        found.append(escrime.RayS(eps, queries=1500)(built.model, images, labels))
    if member.eight_bits:
        found += [on_grid(moved, images, eps) for moved in found]
    return found


def _against(known, member: Member, images: Tensor, labels: Tensor) -> list[Tensor]:
    with seeded(2):
        full = escrime.AutoAttack(member.eps, steps=50, queries=1000, early_stop=not member.randomized)
        return [full(known, images, labels), descended(known, images, labels, member.eps)]


def truth(member: Member, kit: Kit) -> float:
    """The share, or for a randomized model the chance, that is left; `Member.known_truth` where there is one."""
    if member.known_truth is not None:
        return member.known_truth
    if member.name not in kit.truths:
        kit.truths[member.name] = _truth(member, kit)
    return kit.truths[member.name]


def _truth(member: Member, kit: Kit) -> float:
    built = member.make(kit)
    images, labels = kit.judged(member)
    labels = built.relabel(labels)
    draws = DRAWS if member.randomized else 1
    scores = [right(member, kit, moved, labels, draws) for moved in [images, *examples(member, kit, built, images, labels)]]
    if member.randomized:  # the one way that is worst on average: a minimum for each image would be below the truth
        return min(float(score.mean()) for score in scores)
    return float(torch.stack(scores).amin(0).mean())


def naive(member: Member, kit: Kit) -> float | None:
    """Accuracy under PGD-20 on the model as it is, None where that attack dies."""
    built = member.make(kit)
    images, labels = kit.judged(member)
    labels = built.relabel(labels)
    model, x = built.model, images.clone()
    try:
        with seeded(3):
            for _ in range(20):
                x.requires_grad_(True)
                logits = model(x)
                loss = F.cross_entropy(logits, labels)
                (gradient,) = torch.autograd.grad(loss, x, allow_unused=True) if logits.requires_grad else (None,)
                # A model without any gradient gives a naive attack nothing to step by.
                step = torch.zeros_like(x) if gradient is None else gradient.nan_to_num().sign()
                x = x.detach() + member.eps / 8 * step
                x = x.sub(images).clamp(-member.eps, member.eps).add(images).clamp(0, 1).detach()
            with torch.no_grad():
                return float((model(x).argmax(1) == labels).float().mean())
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
