"""[threats.NORM] of an experiment: what bounds the attacker. It stands for a section of attacks for each that works there."""

from typing import Any

from pydantic import Field, ValidationError, field_validator, model_serializer

from ...access import GRADIENTS
from ...attacks.core.registry import as_run, named
from ...errors import EscrimeError
from ...norms import norm
from ..evaluate.request import USUAL
from ..shared.threats import Threat
from .section import Section


class ThreatSection(Section):
    """One norm. epsilons: its ε, the first of which is its headline. attacks: names, by default those that `escrime evaluate`
    runs; each must work in the norm."""

    epsilons: list[Any] = Field(min_length=1)
    attacks: list[str] = []

    @field_validator("attacks")
    @classmethod
    def _known(cls, values: list[str]) -> list[str]:
        for name in values:
            named(name)
        return values

    @model_serializer(mode="plain")
    def _as_list(self) -> list[Any]:
        """Its ε; the attacks stand among those of the experiment."""
        return self.epsilons

    def sections(self, name: str) -> dict[str, dict[str, Any]]:
        """The [attacks.LABEL] that it stands for, where it is called `name`."""
        threat = Threat(name, tuple(self.epsilons))
        chosen = self.attacks or [attack for attack in USUAL[GRADIENTS] if name in named(attack).norms]
        for attack in chosen:
            if name not in named(attack).norms:
                raise EscrimeError(f"{attack} does not work in {name}, but in {', '.join(named(attack).norms)}; leave it out.")
        return {
            threat.label(called, named(attack).norms): {
                "attack": attack,
                "norm": name,
                "epsilons": list(threat.epsilons),
                **settings,
            }
            for attack in chosen
            for called, settings in as_run(attack).items()
        }


def with_attacks(raw: dict[str, Any]) -> dict[str, Any]:
    """The settings of an experiment with the attacks that its threats stand for; what is no section is left to its own check.

    Raises:
        ValueError: For a threat that is none, and for attacks of the same label.
    """
    threats, attacks = raw.get("threats"), raw.get("attacks", {})
    if not isinstance(threats, dict) or not isinstance(attacks, dict):
        return raw
    for name, section in threats.items():
        try:
            norm(name)
            given = ThreatSection.model_validate(section).sections(name) if isinstance(section, dict) else {}
        except ValidationError:  # which its own field names better
            continue
        except EscrimeError as error:
            raise ValueError(f"[threats.{name}]: {error}") from None
        for label, made in given.items():
            if any(other.lower() == label.lower() for other in attacks):
                raise ValueError(
                    f"[threats.{name}] runs {label}, and so does [attacks.{label.lower()}]; leave one of them out."
                )
            attacks = attacks | {label: made}
    return raw | {"attacks": attacks}
