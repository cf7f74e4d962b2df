"""[attacks.NAME] of an experiment: any attack that escrime has, with its settings and its ε."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from ...attacks.core.base import Attack
from ...attacks.core.registry import by_name, make, named, settings_of
from ...budgets import distinct
from ...errors import EscrimeError, nearest
from ...norms import Norm, norm
from ...results.records import STRONGER, own_rows
from .section import Section, check_names, whole

UNKNOWN, MISSING = "unknown_setting", "missing_setting"  # errors about a key that no field of a section stands for


class AttackSection(Section):
    """One attack at every ε of `epsilons`, on all images. attack: the name of its class. norm: that of ε; default: the attack's
    own. limit: images of each subset; default: all. adaptive_limit: the same for adaptive attacks on a randomized defense,
    which cost most. Every other key is a setting of the attack; `target` may be the name of a class too.
    """

    model_config = ConfigDict(extra="allow")

    attack: str
    norm: str | None = None
    epsilons: list[Any] = Field(min_length=1)
    limit: Annotated[int, whole(of="images")] | None = None
    adaptive_limit: Annotated[int, whole(of="images")] | None = None

    @field_validator("attack")
    @classmethod
    def _known(cls, value: str) -> str:
        named(value)
        return value

    @field_validator("epsilons")
    @classmethod
    def _numbers(cls, values: list[Any], info: ValidationInfo) -> list[Any]:
        if "attack" not in info.data:
            return values
        own = _geometry(info.data.get("norm"), named(info.data["attack"]))
        return distinct(sorted(own.epsilon(value) for value in values))

    @model_validator(mode="after")
    def _makes_one(self) -> Self:
        known, keys = settings_of(self.kind), [name for name in type(self).model_fields if name != "attack"]
        for key in self.settings:
            if key not in known:
                choices = [*keys, *(name for name in known if name not in keys)]
                raise PydanticCustomError(UNKNOWN, "{key}", {"key": key, "choices": choices})
        if self.kind.needs_target and self.target is None:
            raise PydanticCustomError(MISSING, "target", {"key": "target"})
        self.build(None if self.target is None else 0 if isinstance(self.target, str) else self.target)
        return self

    @property
    def kind(self) -> type[Attack]:
        return named(self.attack)

    @property
    def geometry(self) -> Norm:
        """The norm of its ε."""
        return _geometry(self.norm, self.kind)

    @property
    def settings(self) -> dict[str, Any]:
        """What the file sets of the attack beside its ε and norm."""
        return self.model_extra or {}

    @property
    def target(self) -> str | int | None:
        return self.settings.get("target")

    def build(self, target: int | None) -> Attack:
        """The attack at its largest ε, towards the class with this index."""
        aimed = {} if target is None else {"target": target}
        return make(self.kind, max(self.epsilons), self.norm, **self.settings | aimed)

    def as_dict(self) -> dict[str, Any]:
        """What tells it from another, as JSON values: what differs from the defaults, and the number of steps in any case."""
        largest = max(self.epsilons)
        # The defaults are in another norm perhaps, where ε may not be as large.
        built, plain = make(self.kind, largest, self.norm), make(self.kind, min(largest, 1.0), None)
        chosen = {key: value for key, value in self.settings.items() if value != getattr(plain, key, None)}
        if "steps" in settings_of(self.kind):
            chosen["steps"] = self.settings.get("steps", getattr(plain, "steps"))  # noqa: B009  # not every attack has them
        norm = {} if built.norm == plain.norm else {"norm": self.norm}
        limit = {} if self.limit is None else {"limit": self.limit}
        return {"epsilons": self.epsilons, **limit, "adaptive_limit": self.adaptive_limit, **norm, **chosen}


class Attacks(Section):
    """The sections by name. One that is called like an attack, case and hyphens apart, is that one, and needs no `attack`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, AttackSection]

    @model_validator(mode="before")
    @classmethod
    def _with_attack(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not value:
            raise ValueError("there is no attack; add a section such as [attacks.pgd] with its epsilons.")
        complete = {}
        for name, section in value.items():
            if isinstance(section, dict) and "attack" not in section:
                implied = _implied(name)
                if implied is None:
                    hint = nearest(name, by_name())
                    raise ValueError(
                        f"{name!r} is no attack's name, and [attacks.{name}] does not say which it is; add a line such as "
                        f'attack = "PGD" to it, one of {", ".join(by_name())}.{hint}'
                    )
                section = {"attack": implied, **section}
            complete[name] = section
        return complete

    @model_validator(mode="after")
    def _one_label_each(self) -> Self:
        for name, section in self.sections.items():
            implied = _implied(name)
            if implied not in (None, section.attack):
                raise ValueError(
                    f"[attacks.{name}] is called like {implied} and says that it is {section.attack}; give it another name."
                )
        labels = [_label(name, section) for name, section in self.sections.items()]
        check_names("section of attacks", labels, "pgd-20", ("none", STRONGER))
        for label in labels:
            if taken := own_rows(label):
                raise ValueError(f"[attacks.{label}] {taken}")
            if labels.count(label) > 1:
                raise ValueError(f"two sections of attacks are both {label}; give one of them another name.")
        return self

    @model_serializer(mode="plain")
    def _as_dict(self) -> dict[str, Any]:
        named_else = {
            name: {} if _implied(name) == section.attack else {"attack": section.attack}
            for name, section in self.sections.items()
        }
        return {name: named_else[name] | section.as_dict() for name, section in self.sections.items()}

    @property
    def sections(self) -> dict[str, AttackSection]:
        return self.model_extra or {}

    @property
    def by_label(self) -> dict[str, AttackSection]:
        """The sections by what their rows are called: FGSM for [attacks.fgsm], pgd-20 for [attacks.pgd-20]."""
        return {_label(name, section): section for name, section in self.sections.items()}

    @property
    def epsilons(self) -> dict[str, list[float]]:
        """The ε of each, by label."""
        return {label: section.epsilons for label, section in self.by_label.items()}


def _geometry(chosen: str | None, attack: type[Attack]) -> Norm:
    return norm(chosen or attack.norm)


def _implied(name: str) -> str | None:
    """The attack that a section of this name is."""
    plain = name.lower().replace("-", "").replace("_", "")
    return next((known for known in by_name() if known.lower() == plain), None)


def _label(name: str, section: AttackSection) -> str:
    return section.attack if _implied(name) == section.attack else name


def explained(error: Mapping[str, Any], source: str, where: str) -> EscrimeError | None:
    """One sentence about an error of a section of attacks, None for any other."""
    if error["type"] == UNKNOWN:
        key, choices = error["ctx"]["key"], error["ctx"]["choices"]
        hint = nearest("epsilons" if key == "eps" else key, choices) or f" It takes {', '.join(choices)}."
        return EscrimeError(f"{source}: unknown key {f'{where}.{key}'!r}.{hint}")
    if error["type"] == MISSING:
        return EscrimeError(f"{source}: {where + '.' + error['ctx']['key']!r} is missing; add it.")
    return None
