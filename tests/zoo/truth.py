"""What is true of a member: the share of images for which no example is known that the model itself gets wrong.

An upper bound on its robust accuracy. The examples are those of AutoAttack and of PGD on everything that an attacker may know
to be inside (`Built.known`), of the other networks, and where nothing better is known, of decisions alone on the model.
"""

import contextlib

import torch
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


def examples(member: Member, built: Built, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Images within ε that may fool the model, one batch for each way to find them."""
    eps, found = member.eps, []
    with seeded(2):
        for known in built.known or (built.undefended,):
            found.append(escrime.AutoAttack(eps, steps=50, queries=1000, early_stop=not member.randomized)(known, images, labels))
            found.append(escrime.PGD(eps, steps=100, loss="margin")(known, images, labels))
        if member.on_model:
            found.append(escrime.RayS(eps, queries=2000)(built.model, images, labels))
    if member.eight_bits:
        found += [on_grid(moved, images, eps) for moved in found]
    inside = [moved.clamp(0, 1).sub(images).clamp(-eps, eps).add(images).clamp(0, 1) for moved in found]
    return inside


def truth(member: Member, kit: Kit) -> float:
    """The share, or for a randomized model the chance, that is left; `Member.known_truth` where there is one."""
    if member.known_truth is not None:
        return member.known_truth
    built = member.make(kit)
    images, labels = kit.judged(member)
    labels = built.relabel(labels)
    draws = DRAWS if member.randomized else 1
    scores = [right(member, kit, moved, labels, draws) for moved in [images, *examples(member, built, images, labels)]]
    if member.randomized:  # the one way that is worst on average: a minimum for each image would be below the truth
        return min(float(score.mean()) for score in scores)
    return float(torch.stack(scores).amin(0).mean())


def naive(member: Member, kit: Kit) -> float | None:
    """Accuracy under PGD-20 on the model as it is, None where that attack dies."""
    built = member.make(kit)
    images, labels = kit.judged(member)
    labels = built.relabel(labels)
    from_model = getattr(built.model, "eval", lambda: built.model)()
    x = images.clone()
    try:
        with seeded(3):
            for _ in range(20):
                x.requires_grad_(True)
                logits = from_model(x)
                gradient = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), x)[0] if logits.requires_grad else 0 * x
                step = x.detach() + member.eps / 8 * gradient.sign()
                x = step.sub(images).clamp(-member.eps, member.eps).add(images).clamp(0, 1).detach()
            with torch.no_grad():
                return float((from_model(x).argmax(1) == labels).float().mean())
    except (RuntimeError, ValueError, TypeError, IndexError):
        return None
