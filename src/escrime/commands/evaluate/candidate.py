"""The model and the images of a request, loaded, matched and refused where they do not fit."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import nn

from ... import data
from ...access import ACCESS, GRADIENTS, LABELS, Access
from ...attacks.core.base import Attack
from ...attacks.core.registry import as_run, by_name, make, named, sees
from ...attacks.transfer import Transfer
from ...budgets import shared_grids
from ...errors import EscrimeError
from ...models import Loaded, Normalized, load_model
from ...models.adapted import in_its_precision
from ...models.fresh import untouched
from ...models.loading.black_box import BlackBox, Queried
from ...models.loading.loaded import USUAL_SIDE
from ...models.running import Classifier, check_logits, failure_named
from ...norms import norm, refuse_mask
from ...randomness import key
from ...regular_files import is_folder
from ...results.threats import WHITE_BOX
from ..shared.display import Display
from ..shared.threats import Threat
from .beside import Beside, deployed, surrogate, to_be_made
from .classes import counted
from .request import USUAL, Request, own_name

OF_ITS_SIZE = "give the size it was made for with --size, or mend the model"


class Candidate:
    """What is judged: everything is loaded when it is first asked for."""

    def __init__(self, request: Request, display: Display, device: torch.device):
        self.request, self.display, self.device = request, display, device
        self.judged: Callable[[], data.ImageSet] = self.images  # by which; who has read them puts them here

    @cached_property
    def loaded(self) -> Loaded:
        request = self.request
        return load_model(
            request.model,
            request.mean,
            request.std,
            trust=request.trust,
            size=request.size,
            classes=request.classes,
            prompted=lambda: data.class_names(request.images),
        )

    @property
    def name(self) -> str:
        """What the model is called in files and tables."""
        chosen = self.request.name
        if chosen is None:
            model = self.loaded.model
            inner = model.network if isinstance(model, Normalized) else model.ask if isinstance(model, BlackBox) else model
            return own_name(self.request.model, type(inner))
        return chosen

    @cached_property
    def model(self) -> Classifier:
        """The model on its device; behind a wall of scores or labels where the attacker may see no more."""
        model, access = self.loaded.model, self.access
        if isinstance(model, nn.Module):
            model = model.to(self.device)
        if access == GRADIENTS or self.loaded.answers != GRADIENTS:
            return model
        return Queried(model, labels=access == LABELS)

    @cached_property
    def looked_at(self) -> Classifier:
        """What is asked before the evaluation, which must find the model as it was."""
        return untouched(self.model)

    def network(self, purpose: str) -> nn.Module:
        """The model on its device, to differentiate or to train.

        Raises:
            EscrimeError: For a black box; it tells the `purpose` that gradients have.
        """
        if isinstance(self.model, nn.Module) and self.loaded.answers == GRADIENTS:
            return self.model
        raise EscrimeError(f"{self.request.model} gives no gradients, so {purpose}; give the model as a torch module.")

    @cached_property
    def access(self) -> Access:
        """What the attacker sees, as requested, or all that the model gives away."""
        given, wanted = self.loaded.answers, self.request.access
        if wanted is not None and ACCESS.index(wanted) > ACCESS.index(given):
            raise EscrimeError(f"{self.request.model} gives away {given} only; --access {wanted} needs more.")
        return wanted or given

    @property
    def threat(self) -> str:
        """The access as records and reports call it: of gradients it is white-box."""
        return WHITE_BOX if self.access == GRADIENTS else self.access

    def images(self) -> data.ImageSet:
        """The images of the request, to judge by."""
        with self.display.reading() as progress:
            found = data.load_to_judge(self.request.images, self.size, download=True, on_error=self.on_error, progress=progress)
            return self.to_judge(found)

    @cached_property
    def size(self) -> int:
        """The edge length of the images in pixels; where nothing but custom chooses it, that is said."""
        dataset = None if is_folder(self.request.images) else data.DATASETS.get(self.request.images)
        if not (dataset or self.request.size or self.loaded.size):
            self.display.say(
                f"note: {self.request.model} does not say for which size it was made, so every image is brought to "
                f"{USUAL_SIDE} × {USUAL_SIDE} pixels; --size PX takes another."
            )
        return self.loaded.side(self.request.size, dataset.side if dataset else USUAL_SIDE)

    @property
    def on_error(self) -> str:
        return "skip" if self.request.skip_unreadable else "raise"

    def to_judge(self, images: data.ImageSet) -> data.ImageSet:
        """The images with the model's labels, in an order drawn from the seed, so that any first part stands for all."""
        seed = self.request.seed
        images = images.limit(self.request.limit, seed) if self.request.limit else images
        order = sorted(range(len(images)), key=lambda row: key(seed, "order", images.ids[row]))
        return self.with_labels(images.select(order))

    def with_labels(self, images: data.ImageSet) -> data.ImageSet:
        """The images with the labels that the model gives their classes."""
        loaded, count = counted(self.loaded, images, lambda: self._first_logits(images).shape[1])
        return data.labels_for(images, count, loaded.classes, loaded.wnids, self.request.model)

    def _first_logits(self, images: data.ImageSet) -> torch.Tensor:
        """The logits (1, K) of the first image; EscrimeError for a model that cannot take it."""
        pixels, _ = images.batch([0], self.device)
        side = pixels.shape[-1]
        with (
            failure_named(f"{self.request.model} fails on an image of 3 × {side} × {side} in [0, 1]", OF_ITS_SIZE),
            torch.no_grad(),
        ):
            return check_logits(in_its_precision(self.looked_at)(pixels), pixels)

    @cached_property
    def surrogates(self) -> list[Beside]:
        """The networks that examples are made on as well."""
        request = self.request
        return [surrogate(spec, self.judged(), self.size, self.device, request.trust) for spec in request.surrogates]

    @cached_property
    def deployed(self) -> Beside | None:
        """What is deployed in the model's place."""
        if self.request.deployed is None:
            return None
        return deployed(self.request, self.judged(), self.size, self.device)

    @cached_property
    def threats(self) -> tuple[Threat, ...]:
        """What bounds the attacker, with the ε that are usual for the size of the images where none were given."""
        found = [threat.on(self.size) for threat in self.request.threats]
        for threat in (threat for threat in self.request.threats if threat.epsilons):
            self._check_reach(threat)
        if self.request.mask is not None:  # what turns the whole image knows no mask
            for threat in (threat for threat in found if threat.named):
                refuse_mask(norm(threat.norm), f"threat {threat.norm!r}")
            found = [threat for threat in found if not norm(threat.norm).rendered]
        own = tuple(threat for threat in found if threat.named or self._working(threat))
        return own or tuple(threat for threat in found if self._made(threat))

    def _check_reach(self, threat: Threat) -> None:
        """Raise EscrimeError for an ε that is more than from any image to any other."""
        geometry = norm(threat.norm)
        farthest = geometry.diameter(torch.empty(1, 3, self.size, self.size))
        for eps in threat.epsilons:
            if eps > farthest:
                raise EscrimeError(
                    f"{geometry.said(eps)} is more than between any two images of {self.size} × {self.size} pixels "
                    f"({farthest:.4g}), so it bounds nothing; give less."
                )

    @cached_property
    def attacks(self) -> dict[str, Attack]:
        """By label, at the largest ε: of the first threat by name, of any other with its norm behind that; on the model those
        that what the attacker sees suffices for, and those that are made on surrogates.

        Raises:
            EscrimeError: For one that needs more than the attacker sees, and for a threat that none of them works in.
        """
        for name in self.request.attacks:
            if not sees(named(name), self.access) and not self.request.surrogates:
                able = [other for other, kind in by_name().items() if sees(kind, self.access) and not kind.needs_target]
                raise EscrimeError(
                    f"attack {name!r} needs {named(name).access}, which an attacker who sees {self.access} has not; use "
                    f"{' or '.join(able)}, or give it --surrogate SPEC to be made on."
                )
            if not any(threat.norm in named(name).norms for threat in self.threats):
                make(named(name), max(self.threats[0].epsilons), self.threats[0].norm)  # which refuses it
        found: dict[str, Attack] = {}
        for threat in self.threats:
            made = self._made(threat)
            for name in self._working(threat) if made else self._able(threat):
                kind = named(name)
                for called, settings in as_run(name).items():
                    own = make(kind, max(threat.epsilons), threat.norm, **settings)
                    found[self._label(called, threat, kind)] = own
            for called, attack in made.items():
                found[self._label(called, threat, attack)] = Transfer(attack, [one.model for one in self.surrogates])
        return found

    @cached_property
    def grids(self) -> dict[str, list[float]]:
        """Label → the ε of each attack, ascending; the first attack is also scored at ε = 0."""
        of = {threat.norm: sorted(threat.epsilons) for threat in self.threats}
        found = {name: of[attack.norm] for name, attack in self.attacks.items()}
        first = next(iter(found))
        return shared_grids(found | {first: [0.0, *found[first]]})

    def _label(self, called: str, threat: Threat, attack: type[Attack] | Attack) -> str:
        """What the rows of an attack are called."""
        return called if len(self.threats) == 1 else threat.label(called, attack.norms)

    def _working(self, threat: Threat) -> list[str]:
        """The attacks that were asked for, or the usual ones, that work in the norm of a threat."""
        wanted = [name for name in self.request.attacks or USUAL[self.access] if sees(named(name), self.access)]
        return [name for name in wanted if threat.norm in named(name).norms]

    def _made(self, threat: Threat) -> dict[str, Attack]:
        """Label → attack, of what is made on the surrogates within a threat."""
        return to_be_made(threat, self.request.attacks, self.size) if self.request.surrogates else {}

    def _able(self, threat: Threat) -> list[str]:
        """As `_working`; EscrimeError where none does."""
        if found := self._working(threat):
            return found
        wanted = self.request.attacks or USUAL[self.access]
        able = [
            name
            for name, kind in by_name().items()
            if sees(kind, self.access) and threat.norm in kind.norms and not kind.needs_target
        ]
        advice = f"choose one with --attack: {', '.join(able)}" if able else "use another --norm"
        if self.request.attacks:
            raise EscrimeError(f"no attack of {', '.join(wanted)} works in {threat.norm}; {advice}.")
        raise EscrimeError(f"no attack that is usual for {self.access} alone works in {threat.norm}; {advice}.")
