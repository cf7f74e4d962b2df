"""The rows of the speed table: the work, escrime's attack for it, the peers' method, and the goals."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files

import escrime

from .work import Work


def paper_grid(attack: str) -> tuple[float, ...]:
    """The ε of the paper's "fgsm" or "dgsm" sweep, as the shipped experiment has them."""
    text = (files("escrime.commands.run") / "shipped" / "imagenette.toml").read_text("utf-8")
    return tuple(float(eps) for eps in tomllib.loads(text)["attacks"][attack]["epsilons"])


@dataclass(frozen=True)
class Row:
    """One kind of work. goals: setting → least ratio, None where a row has no goal; other settings do not run it.

    attack: from ε, the work and its target to escrime's attack. method: of the peers. grid: the paper's sweep, or None
    for the setting's own ε. hardened: on the adversarially trained model. directed: success is to reach the target.
    cumulative: an image that fell at an ε counts as fallen at every larger one. few: qualifies on few images.
    """

    key: str
    title: str
    goals: dict[str, float | None]
    attack: Callable[[float, Work], object]
    method: str
    grid: str | None = None
    steps: int = 1
    needs: tuple[str, ...] = field(default=())
    hardened: bool = False
    directed: bool = False
    cumulative: bool = False
    few: bool = False

    def missing(self) -> list[str]:
        """The names that escrime does not have (yet)."""
        absent = []
        for name in self.needs:
            try:
                getattr(escrime, name)
            except (AttributeError, ImportError):
                absent.append(name)
        return absent

    def in_full(self, work: Work) -> list:
        """DGSM with nothing spared, each ε on its own, on the original model."""
        attack = _dgsm_all_steps(max(work.epsilons), work)
        outcomes = attack.sweep(lambda x: work.model(x), work.images, work.labels, work.epsilons)
        return [outcome.adversarial for outcome in outcomes]

    def ours(self, work: Work) -> list:
        """escrime's adversarial images, one tensor per ε, from the original model: preparing the copy is part of it."""
        outcomes = self.attack(max(work.epsilons), work).sweep(work.model, work.images, work.labels, work.epsilons)
        return [outcome.adversarial for outcome in outcomes]


def _fgsm(eps: float, work: Work):
    return escrime.FGSM(eps)


def _dgsm(eps: float, work: Work):
    return escrime.DGSM(eps, target=work.target, steps=work.steps, early_stop=True, give_up=3.0)


def _dgsm_all_steps(eps: float, work: Work):
    return escrime.DGSM(eps, target=work.target, steps=work.steps)


def _worst_case(eps: float, work: Work):
    return escrime.WorstCase(_dgsm(eps, work))


def _pgd(eps: float, work: Work):
    return escrime.PGD(eps, steps=work.steps)


def _autoattack(eps: float, work: Work):
    return escrime.AutoAttack(eps)


def both(googlenet: float | None, resnet: float | None) -> dict[str, float | None]:
    return {"googlenet": googlenet, "resnet": resnet}


DGSM = {"method": "directed", "grid": "dgsm", "steps": 20, "directed": True}
PGD = {"method": "pgd", "steps": 40, "needs": ("PGD",)}
AUTOATTACK = {"method": "autoattack", "needs": ("AutoAttack",), "few": True}

ROWS = {
    row.key: row
    for row in (
        Row("fgsm", "FGSM, the paper's 13 ε", both(5, 4), _fgsm, "fgsm", grid="fgsm", needs=("FGSM",)),
        Row("dgsm", "DGSM, the paper's 16 ε, 20 steps, each ε on its own", both(3, 3), _dgsm, needs=("DGSM",), **DGSM),
        Row(
            "worst-case",
            "DGSM, the same, worst-case curve (smallest ε per image)",
            both(8, 8),
            _worst_case,
            needs=("DGSM", "WorstCase"),
            cumulative=True,
            **DGSM,
        ),
        Row("dgsm-plain", "DGSM, the same, all 20 steps whatever happens", both(None, None), _dgsm_all_steps, **DGSM),
        Row("pgd", "PGD-40, undefended model", both(10, 10), _pgd, **PGD),
        Row("pgd-robust", "PGD-40, adversarially trained model", both(1.5, 1.2), _pgd, hardened=True, **PGD),
        Row("autoattack", "AutoAttack verdict, undefended model", {"resnet": 20}, _autoattack, **AUTOATTACK),
        Row(
            "autoattack-robust",
            "AutoAttack verdict, adversarially trained model",
            {"resnet": 4},
            _autoattack,
            hardened=True,
            **AUTOATTACK,
        ),
    )
}
