"""Examples made on surrogates, to fool a model that is only shown the result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..errors import EscrimeError
from ..models.ensemble import Ensemble, other_classes
from ..models.fast.twin import Twin
from ..models.running import failure_named, no_trace, refuse_inference_tensors
from ..norms import DEFAULT
from ..results.names import AS_TRANSFER
from .auto_attack import AutoAttack
from .core.base import Attack, Epsilon, Outcome
from .core.inputs import Inputs
from .core.minimum_norm import MinimumNorm
from .pgd import PGD
from .worst_case import WorstCase

FITS = "give networks that take the model's images, or wrap them in modules that resize these"
RADIUS, PIXELS = 7, 299  # of TI-FGSM's kernel, on images of this side
STEPS = 20


@dataclass(frozen=True)
class Transfer(Attack):
    """`attack` on one or several surrogates, in place of the model: networks of the attacker's own, whose gradients he has.

    Of several the attack follows the mean of their logits (see models.ensemble.Ensemble). All of its steps are spent, see
    `for_transfer`. The model is asked for nothing but how many classes it has: whether an example fools it is for whoever calls
    this, or for the evaluation, to see.

    Source: Papernot, McDaniel, Goodfellow (2016), Transferability in machine learning, arXiv:1605.07277; of several networks
    Dong et al. (2018), Boosting adversarial attacks with momentum, section 3.3.

    Args:
        attack: Any attack of escrime's, or of a user's that is an Attack; see `mi_di_ti_fgsm`.
        surrogates: A network or several, images (N, C, H, W) in [0, 1] → logits (N, K) of the model's K classes in its order.

    Raises:
        EscrimeError: For what is no attack, no network, or an attack that renders images from parameters.
    """

    attack: Attack
    surrogates: Any = field(repr=False)  # a module or several; afterwards a tuple

    norms = ("linf", "l2", "l1", "l0", "patch")
    access = "labels"
    kind = "surrogates"
    paper = "Papernot, McDaniel, Goodfellow (2016), Transferability in machine learning, arXiv:1605.07277"

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise EscrimeError(f"Transfer was given {self.attack!r}; give one of escrime's attacks, such as PGD('8/255').")
        if self.attack.geometry.rendered:
            raise EscrimeError(
                f"{self.attack.name} tries the same images whatever the network is; attack the model itself with it, and give "
                "Transfer an attack that follows gradients, such as PGD('8/255')."
            )
        given = [self.surrogates] if isinstance(self.surrogates, nn.Module) else self.surrogates
        networks = tuple(given) if isinstance(given, Iterable) else (given,)
        if not networks:
            raise EscrimeError("Transfer was given no surrogate; give a network that examples are made on.")
        for network in networks:
            if not isinstance(network, nn.Module):
                raise EscrimeError(
                    f"a surrogate is a {type(network).__name__}, which gives no gradients; give a torch.nn.Module that returns "
                    "logits."
                )
        object.__setattr__(self, "surrogates", networks)

    eps = property(lambda self: self.attack.eps)
    norm = property(lambda self: self.attack.norm)
    target = property(lambda self: self.attack.target)
    eot = property(lambda self: self.attack.eot)
    steps = property(lambda self: getattr(self.made, "steps", 0))

    @property
    def manner(self) -> str:
        return self.attack.manner

    @property
    def name(self) -> str:
        return self.attack.name + AS_TRANSFER

    @property
    def made(self) -> Attack:
        """The attack as it is run on the surrogates."""
        made: Attack = for_transfer(self.attack)
        return made

    def against_noise(self, eot: int) -> Attack:
        """The same: the noise of a model says nothing of its surrogates. For that of theirs give `attack` its own eot."""
        return self

    def _budget(self, eps: Any) -> float | tuple[float, ...] | None:
        return self.attack._budget(eps)

    def _budgets(self, epsilons: Sequence[float | tuple[float, ...] | None], images: Tensor) -> Tensor:
        return self.attack._budgets(epsilons, images)

    def _sweep(self, twin: Twin, inputs: Inputs, budgets: Tensor, wanted: Tensor) -> list[Outcome]:
        network = Ensemble(self.surrogates)
        refuse_inference_tensors(network)
        with no_trace(network, inputs.images.device):
            self._check_classes(twin, Twin(network, network), inputs)
            # What was seen to fool the surrogates says nothing of the model.
            return [replace(made, success=None) for made in self.made._sweep(Twin(network), inputs, budgets, wanted)]

    def _check_classes(self, twin: Twin, surrogate: Twin, inputs: Inputs) -> None:
        """Raise EscrimeError where the model has other classes than the surrogates: asked about one image."""
        image, keys = inputs.images[:1], inputs.keys(self.name, "classes")[:1]
        model = twin.ask(image, keys).shape[1]
        with failure_named(f"a surrogate fails on images of {' × '.join(map(str, image.shape[1:]))}", FITS):
            other = surrogate.ask(image, keys).shape[1]
        if model != other:
            raise EscrimeError(other_classes("a surrogate", other, "the model", model))


def for_transfer(attack: Any) -> Any:
    """The attack as it is made on one network to fool another: all steps are spent, where one that leaves at its first
    success would stop at the boundary of the network it is made on, which the other does not share. It costs as much on every
    image as on one that stands.

    Itself where that changes nothing (FGSM, DGSM), for a callable of the user's, and for attacks that look for the nearest
    example (FMN, DeepFool, CarliniWagner, RayS): that is what they are, so a transfer of theirs shows little; κ of
    CarliniWagner makes it transfer. AutoAttack goes without its search by scores: thousands of queries for an example at the
    boundary of one network, which hardly any other shares. WorstCase gives its attack, as another network does not fall at the
    same ε.

    Args:
        attack: Any attack.

    Returns:
        An attack, or what was given.
    """
    if isinstance(attack, WorstCase):
        return for_transfer(attack.attack)
    if not isinstance(attack, Attack) or isinstance(attack, MinimumNorm) or not is_dataclass(attack):
        return attack
    own = {setting.name for setting in fields(attack)}
    if "early_stop" not in own:
        return attack
    spent = replace(attack, early_stop=False, **({"give_up": None} if "give_up" in own else {}))
    spent = replace(spent, queries=0) if isinstance(spent, AutoAttack) else spent
    return attack if spent == attack else spent


def mi_di_ti_fgsm(eps: Epsilon, norm: str = DEFAULT, *, side: int, **settings: Any) -> PGD:
    """PGD with momentum, diverse inputs and smoothed gradients, whose examples fool other networks more often than plain PGD's.

    Source: Dong, Pang, Su, Zhu (2019), Evading defenses to transferable adversarial examples by translation-invariant attacks
    (TI-DIM, arXiv:1904.02884), whose kernel of radius 7 is for images of 299 pixels.

    Args:
        eps: The budget.
        norm: Its norm.
        side: Pixels of the shorter side of the images, which the radius is a share of: 5 for 224 pixels, 1 for 32.
        settings: Of PGD, others than these.

    Returns:
        The attack, to give to Transfer.

    Raises:
        EscrimeError: As PGD does.
    """
    radius = round(RADIUS * side / PIXELS)
    usual: dict[str, Any] = {"steps": STEPS, "momentum": 1.0, "diversity": 0.5, "smoothing": radius, "random_start": False}
    return PGD(eps, norm=norm, **usual | settings)
