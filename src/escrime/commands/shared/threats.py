"""What bounds the attacker, as it is asked for: norms with their ε, written such as "linf:4/255,l2:0.5" or "all"."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...access import ACCESS
from ...budgets import distinct, eps_text
from ...errors import EscrimeError
from ...norms import NORMS, meant, norm
from ...results.threats import UNDEFENDED
from ...validation import check_choice

ALL = "all"
SMALL = 64  # pixels up to which an image is small, as those of CIFAR-10 are
DIGITS = ("", ".", *"0123456789")  # how an ε begins
ACCESS_WORDS = (*UNDEFENDED, *ACCESS)  # what the attacker sees, which is another option
OF_ACCESS = " What the attacker sees of the model is --access gradients, scores or labels."


@dataclass(frozen=True)
class Threat:
    """One bound of the attacker: a norm and its ε, the first of which is the headline.

    Args:
        norm: Its name.
        epsilons: Each above 0, as numbers or as they are written; () for the usual one of the norm.
        named: Whether it was asked for by name, and so may not be left out where no attack works in it.

    Raises:
        EscrimeError: For an unknown norm, and for an ε that is none in it.
    """

    norm: str
    epsilons: tuple[float, ...] = ()
    named: bool = True

    def __post_init__(self) -> None:
        found = tuple(distinct(norm(self.norm).epsilon(eps) for eps in self.epsilons))
        object.__setattr__(self, "epsilons", found)
        if found:
            check_above_zero(found)

    @property
    def headline(self) -> float:
        return self.epsilons[0]

    def label(self, name: str, norms: Sequence[str]) -> str:
        """What the rows of an attack that works in `norms` are called where there are other threats too: with this norm, unless
        it could be no other."""
        return name if len(norms) == 1 else name + norm(self.norm).suffix

    def on(self, side: int) -> "Threat":
        """The same with its ε: where none was given that which is usual on images of `side` pixels."""
        usual = norm(self.norm).epsilon(norm(self.norm).usual[side > SMALL])
        return self if self.epsilons else Threat(self.norm, (usual,), self.named)


def usual_in_words() -> str:
    """The usual ε of every norm, of small images and of larger ones: "linf 8/255 (4/255), …"."""
    found = []
    for name, own in NORMS.items():
        small, large = (eps_text(own.epsilon(eps), own.per_value) for eps in own.usual)
        found.append(f"{name} {small}" + f" ({large})" * (small != large))
    return f"{', '.join(found)}; in parentheses that of images above {SMALL} px"


def read_threats(text: str) -> tuple[Threat, ...]:
    """Threats from how they are written: names of norms, apart by commas, each with ":" and its ε where that is not the usual
    one; a number after a comma is one more ε of the norm before it. "all" adds every other norm with its usual ε.

    Raises:
        EscrimeError: For a name that is no norm, an ε without one, and a norm named twice.
    """
    found: dict[str, list[str]] = {}
    for word in text.split(","):
        name, colon, eps = (part.strip() for part in word.partition(":"))
        if not colon and name[:1] in DIGITS:
            if not name or (last := next(reversed(found), ALL)) == ALL:
                raise EscrimeError(f"--threat {text!r}: ε {name!r} belongs to no norm; write NORM:EPS, such as linf:4/255.")
            found[last].append(name)
            continue
        if name not in (*NORMS, ALL):
            check_choice("threat", name, [*NORMS, ALL], hint=OF_ACCESS if name in ACCESS_WORDS else meant(name, [ALL]))
        if name in found:
            raise EscrimeError(f"--threat {text!r} names {name} twice; give all of its ε at once, as in linf:2/255,4/255.")
        if colon and name == ALL:
            raise EscrimeError(f"--threat {text!r}: {ALL!r} takes the usual ε; name a norm to give it another, as in l2:1,all.")
        found[name] = [eps] if colon else []
    asked = [Threat(name, tuple(epsilons)) for name, epsilons in found.items() if name != ALL]  # type: ignore[arg-type]
    return tuple(asked + [Threat(name, named=False) for name in NORMS if name not in found and ALL in found])


def check_above_zero(epsilons: Sequence[float]) -> None:
    """Raise EscrimeError where there is no ε, or one at which nothing is attacked."""
    if not epsilons or min(epsilons) <= 0:
        zero = "ε = 0 is no attack, and accuracy without one is measured anyway" if epsilons else "no ε is given"
        raise EscrimeError(f"{zero}; give at least one ε above 0, such as 4/255, and none else.")
