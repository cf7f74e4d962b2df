"""Networks beside the model that is judged: surrogates that examples are made on, and what is deployed in its place."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...access import GRADIENTS
from ...attacks.core.base import Attack
from ...attacks.core.registry import as_run, make, named
from ...attacks.core.universal import Universal
from ...attacks.pgd import PGD
from ...attacks.transfer import mi_di_ti_fgsm
from ...data.classes import class_places
from ...data.imageset import ImageSet
from ...errors import EscrimeError
from ...models import Loaded, load_model
from ...models.adapted import in_its_precision
from ...models.fresh import untouched
from ...models.matched import Matched, matched
from ...models.running import Classifier, check_logits, failure_named, no_trace
from ...norms import norm
from ...randomness import row_keys
from ...results.names import AS_TRANSFER, MI_DI_TI
from ...training.identity import weights_digest
from ..shared.threats import Threat
from .classes import counted
from .request import Request, own_name

LOOKED = 32  # images that show whether a surrogate knows the classes


@dataclass(frozen=True)
class Beside:
    """A network beside the model, by its specification, in the model's place: images of the model's → logits of its classes.
    normalized: whether the model's normalization was put in front."""

    spec: str
    model: Classifier
    normalized: bool = False

    @property
    def weights(self) -> str | None:
        """What tells it from another under the same name; None for a black box, and for weights of another form."""
        try:
            return weights_digest(self.model) if isinstance(self.model, nn.Module) else None
        except (RuntimeError, TypeError):  # quantized ones
            return None

    @property
    def name(self) -> str:
        """What it is called in files and tables."""
        inner = self.model.network if isinstance(self.model, Matched) else self.model
        return own_name(self.spec, type(inner))


def surrogate(spec: str, images: ImageSet, side: int, device: torch.device, trust: bool) -> Beside:
    """A network of the attacker's own.

    Args:
        spec: Of whatever kind a model may be.
        images: Those that are judged by, with the model's labels and the names of its classes.
        side: Pixels of their square side. A network made for another is given them at its own.
        device: Where it is put.
        trust: Whether the file may run code.

    Raises:
        EscrimeError: For one without gradients, or that lacks a class of the images.
    """
    loaded = load_model(spec, trust=trust)
    if loaded.answers != GRADIENTS or not isinstance(loaded.model, nn.Module):
        raise EscrimeError(
            f"surrogate {spec} gives away {loaded.answers} only, and examples are made by gradients; give it as a torch module."
        )
    own = loaded.size if loaded.size not in (None, side) else None
    return Beside(spec, _in_place(loaded, images, own, device, f"surrogate {spec}"))


def deployed(request: Request, images: ImageSet, side: int, device: torch.device) -> Beside:
    """What is deployed in the model's place, given the images as the model is. The normalization that the request has for the
    model is put in front of it where it gets more of a few images right so: an export may have its own inside.

    Args:
        request: Whose `deployed` it is.
        images: As for a surrogate.
        side: As for a surrogate; it must take images of this size.
        device: Where it is put, where it is a module.

    Raises:
        EscrimeError: For one that takes another size alone, and that lacks a class of the images.
    """
    spec, found = str(request.deployed), list[Beside]()
    for mean, std in [(None, None)] + ([] if request.mean is None else [(request.mean, request.std)]):
        loaded = load_model(spec, mean, std, trust=request.trust, size=side)
        found.append(Beside(spec, _in_place(loaded, images, None, device, f"deployed model {spec}"), mean is not None))
    return max(found, key=lambda one: right(one, images, device)) if len(found) > 1 else found[0]


def _in_place(loaded: Loaded, images: ImageSet, side: int | None, device: torch.device, who: str) -> Classifier:
    """The model with its logits in the order of the classes of `images`."""
    model = loaded.model.to(device) if isinstance(loaded.model, nn.Module) else loaded.model
    pixels, _ = images.batch([0], device)
    shape = " × ".join(map(str, pixels.shape[1:]))

    def ask() -> int:
        with failure_named(f"{who} fails on an image of {shape} in [0, 1]", "give one that takes images of this size"):
            return _logits(matched(model, side=side), pixels).shape[1]

    loaded, count = counted(loaded, images, ask)
    needed = {int(label) for label in images.labels}
    places = class_places(images, count, loaded.classes, loaded.wnids, who, needed)
    same = count == len(images.classes) and places == list(range(count))
    return matched(model, None if same else places, side)


def _logits(model: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    keys = row_keys([("beside", row) for row in range(len(pixels))])
    asked = untouched(model)
    with torch.no_grad(), no_trace(asked, pixels.device), keys:
        return check_logits(in_its_precision(asked)(pixels), pixels)


def right(one: Beside, images: ImageSet, device: torch.device) -> tuple[int, int]:
    """How many of the first images a network beside the model gets right, and of how many."""
    pixels, labels = images.batch(list(range(min(LOOKED, len(images)))), device)
    return int((_logits(one.model, pixels).argmax(1) == labels).sum()), len(labels)


def to_be_made(threat: Threat, names: Sequence[str], side: int) -> dict[str, Attack]:
    """Label → what is made on surrogates within one threat: the attacks of these `names` that follow gradients and work there,
    where none of them does so MI-DI-TI-FGSM; {} in a norm that no step can be taken in."""
    if norm(threat.norm).rendered:
        return {}
    largest, asked = max(threat.epsilons), [named(name) for name in names if named(name).access == GRADIENTS]
    kinds = [kind for kind in asked if not issubclass(kind, Universal)]  # which are fitted to the model that is judged
    found: dict[str, Attack] = {}
    for kind in (kind for kind in kinds if threat.norm in kind.norms):
        for label, settings in as_run(kind.__name__).items():
            found[label + AS_TRANSFER] = make(kind, largest, threat.norm, **settings)
    if not kinds and threat.norm in PGD.norms:
        found[MI_DI_TI + AS_TRANSFER] = mi_di_ti_fgsm(largest, threat.norm, side=side)
    return found
