"""What an evaluation is asked for, made uniform: attacks by label, a grid of ε for each, and what their norms mean."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from ..attacks.core.base import Attack
from ..attacks.pgd import PGD
from ..attacks.transfer import Transfer, mi_di_ti_fgsm
from ..budgets import distinct, shared_grids
from ..errors import EscrimeError, nearest
from ..norms import DEFAULT, Norm, norm
from ..results.names import AS_TRANSFER, MI_DI_TI
from ..results.records import own_rows
from .profile import ProbeBudget


def norm_of(attack: object) -> Norm:
    """The norm of an attack's ε, l_inf where it names none; other libraries write "Linf" and "L2"."""
    return norm(str(getattr(attack, "norm", DEFAULT)).lower())


def check_attacks(attacks: Any) -> dict[str, Attack]:
    """A dict of label → attack from an attack, a list of attacks or a dict."""
    if callable(attacks):
        attacks = [attacks]
    if isinstance(attacks, (list, tuple)):
        named = {}
        for attack in attacks:
            base = getattr(attack, "__name__", None) or getattr(attack, "name", type(attack).__name__)
            label, k = base, 2
            while label in named:
                label, k = f"{base}-{k}", k + 1
            named[label] = attack
        attacks = named
    if not isinstance(attacks, dict) or not attacks or not all(callable(a) for a in attacks.values()):
        raise EscrimeError("attacks must be an attack, a list of attacks or a dict of name → attack, such as FGSM('8/255').")
    attacks = {str(label): attack for label, attack in attacks.items()}
    for label, attack in attacks.items():
        if isinstance(attack, type):
            raise EscrimeError(f"attack {label!r} is a class; make an attack of it, such as {attack.__name__}(0.03).")
        if norm_of(attack).rendered and not isinstance(attack, Attack):
            raise EscrimeError(
                f"attack {label!r} is a callable, and whether an image keeps to {norm_of(attack).name} cannot be seen from the "
                "image; make it a class of escrime.attacks.core.base.Attack whose outcomes hold their parameters."
            )
        if taken := own_rows(label):
            raise EscrimeError(f"attack {label!r} {taken}")
    return attacks


def manners_of(attacks: dict) -> dict[str, str]:
    """Label → what the attack is (Attack.manner), of those that have one."""
    return {label: attack.manner for label, attack in attacks.items() if isinstance(attack, Attack)}


def check_epsilons(attacks: dict[str, Attack], epsilons: Any) -> dict[str, list[float]]:
    """The ε grid of every attack, each ε once: its own ε when `epsilons` is None, one ε or list for all, or a dict of
    label → ε or list."""
    if not isinstance(epsilons, dict):
        epsilons = dict.fromkeys(attacks, _as_list(epsilons))
    epsilons = {str(label): given for label, given in epsilons.items()}
    for label in epsilons:
        if label not in attacks:
            raise EscrimeError(
                f"epsilons name {label!r}, which is none of the attacks ({', '.join(attacks)})." + nearest(label, attacks)
            )
    grids = {}
    for label, attack in attacks.items():
        grid = _as_list(epsilons.get(label))
        if grid is None:
            if getattr(attack, "eps", None) is None:
                raise EscrimeError(f"attack {label!r} has no eps of its own; give epsilons=[...] so that it can be verified.")
            if isinstance(attack.eps, tuple):
                raise EscrimeError(
                    f"attack {label!r} has one eps per image; records compare images at the same ε, so give one number, or "
                    "call the attack itself."
                )
            grid = [attack.eps]
        grids[label] = grid = distinct(norm_of(attack).epsilon(e) for e in grid)
        if not grid:
            raise EscrimeError(f"epsilons for attack {label!r} are an empty list; give at least one ε, such as '8/255'.")
        if not isinstance(attack, Attack) and len(grid) != 1:
            raise EscrimeError(f"attack {label!r} is a plain callable with one ε; give exactly one, or one entry per ε.")
    return shared_grids(grids)


def on_surrogates(
    surrogates: Any, attacks: Mapping[str, Any], grids: Mapping[str, list[float]], side: int
) -> tuple[dict[str, Transfer], dict[str, list[float]]]:
    """(label → MI-DI-TI-FGSM on surrogates, label → its ε), one for every norm of `attacks` at all of their ε (`grids`) above
    0; side: pixels of the shorter side of the images.

    Raises:
        EscrimeError: For what is no surrogate, and where no attack is in a norm that it works in.
    """
    found: dict[str, set[float]] = {}
    for label, attack in attacks.items():
        if norm_of(attack).name in PGD.norms:
            found.setdefault(norm_of(attack).name, set()).update(eps for eps in grids[label] if eps > 0)
    found = {name: epsilons for name, epsilons in found.items() if epsilons}
    if not found:
        raise EscrimeError(
            f"surrogates were given, and no attack at ε > 0 in a norm for what is made on them ({', '.join(PGD.norms)}); add "
            "one, or leave the surrogates out."
        )
    labels = {name: MI_DI_TI + AS_TRANSFER + norm(name).suffix * (len(found) > 1) for name in found}
    if taken := next((label for label in labels.values() if label in attacks), None):
        raise EscrimeError(f"attack {taken!r} is called like what is made on the surrogates; give it another name.")
    made = {labels[name]: Transfer(mi_di_ti_fgsm(max(of), name, side=side), surrogates) for name, of in found.items()}
    return made, {labels[name]: sorted(of) for name, of in found.items()}


def _as_list(epsilons: Any) -> list | None:
    if epsilons is None:
        return None
    single = isinstance(epsilons, (str, Real)) or getattr(epsilons, "ndim", 1) == 0
    return [epsilons] if single else list(epsilons)


def budget_of(attacks: dict, grids: dict[str, list[float]]) -> ProbeBudget:
    """The ε and norm that models are looked at with before these attacks."""
    return ProbeBudget.of(grids, {label: norm_of(attack).name for label, attack in attacks.items()})
