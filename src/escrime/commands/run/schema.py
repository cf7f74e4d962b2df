"""What an experiment is: the TOML file, typed. An unknown key is refused with the nearest valid one."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from ...budgets import epsilon, same
from ...errors import EscrimeError, nearest
from ...norms import DEFAULT, norm
from ...validation import enormous, shown
from .attack_sections import Attacks, AttackSection, explained
from .section import Section, check_names, whole
from .threat_sections import ThreatSection, with_attacks

if TYPE_CHECKING:
    from torch import nn

    from ...defenses import PredictionAveraging
    from ...evaluation.effort import Effort
    from ...training import TrainSettings

ADVERSARIAL, BOTH = "adversarial-training", "adversarial-training+ppa"  # how the records call the paper's, and both at once
RESERVED = ("none", "ppa", ADVERSARIAL)

Epsilon = Annotated[float, BeforeValidator(lambda value: epsilon(value))]
AnyEpsilon = Annotated[float, BeforeValidator(lambda value: epsilon(value, math.inf))]  # of a norm that is known later
Images = Annotated[int, whole(of="images")]
Copies = Annotated[int, whole(of="copies")]
Draws = Annotated[int, whole(of="noise draws")]
Pixels = Annotated[int, whole(8, of="pixels")]


class Data(Section):
    """Which images: a dataset name, its edge length in pixels, and how many test images (of each subset) to use.

    train_size: edge length of the training images, where it is larger: a training that draws "resized-crop" cuts parts of
    the edge length `size` from them.
    """

    name: str
    folder: str | None = None
    size: Pixels | None = None
    train_size: Pixels | None = None
    limit: Images | None = None
    skip_unreadable: bool = False

    @model_validator(mode="after")
    def _both_sizes(self) -> Self:
        if self.train_size is not None and self.size is None:
            raise ValueError("train_size needs size, that of the images a model is judged on and trained for; add it")
        return self


class Model(Section):
    """An architecture and its weights: "none" (random), "torchvision", a file or a URL."""

    arch: str
    weights: str = "none"
    head: Literal["new", "slice"] = "slice"
    mean: list[float] | None = None
    std: list[float] | None = None
    stands_for: str | None = None
    training: dict[str, Any] = {}


class AdversarialTraining(Section):
    """The objective by name with its settings, what differs from [training], and whether to start from the untrained
    network instead of retraining the trained one."""

    objective: dict[str, Any]
    training: dict[str, Any] = {}
    from_scratch: bool = False

    @field_validator("objective")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        from ...training import objective

        if "name" not in value:
            raise ValueError('it needs a name, such as { name = "fgsm-mixed", eps = "8/255" }.')
        objective(**value)
        return value


class PPA(Section):
    """Prediction averaging: radius and number of copies; draws behind each verdict; gradient draws of adaptive attacks."""

    eps_max: Epsilon
    samples: Copies
    average: str = "exponentials"
    draws: Draws = 2
    eot: Draws = 1

    def around(self, network: "nn.Module") -> "PredictionAveraging":
        """The defense of `network`."""
        from ...defenses import PredictionAveraging

        return PredictionAveraging(network, self.eps_max, self.samples, self.average)


class Defenses(Section):
    """The paper's two; both at once (prediction averaging around the retrained network); and other recipes of adversarial
    training to compare, each a defense of the name it is given."""

    ppa: PPA | None = None
    adversarial_training: AdversarialTraining | None = Field(None, alias="adversarial-training")
    both: bool = False
    other_training: dict[str, AdversarialTraining] = Field({}, alias="other-training")

    @field_validator("other_training")
    @classmethod
    def _names(cls, value: dict[str, AdversarialTraining]) -> dict[str, AdversarialTraining]:
        check_names("defense", value, "pgd-training", RESERVED)
        return value

    @model_validator(mode="after")
    def _both_exist(self) -> Self:
        if self.both and not (self.ppa and self.adversarial_training):
            raise ValueError("both = true needs [defenses.ppa] and [defenses.adversarial-training]; add what is missing")
        return self

    @property
    def trainings(self) -> dict[str, AdversarialTraining]:
        """Every adversarial training by the name of its defense, the paper's first."""
        paper = {ADVERSARIAL: self.adversarial_training} if self.adversarial_training else {}
        return paper | self.other_training


class CheckSettings(Section):
    """How hard the run looks for what its attacks missed (see evaluation.Effort), and whether at all."""

    enabled: bool = True
    images: Images = 64
    steps: Annotated[int, whole()] = 40
    queries: Annotated[int, whole()] = 1000
    draws: Annotated[int, whole()] = 1000
    eot: Draws = 8
    doublings: Annotated[int, whole(0)] = 2

    @property
    def effort(self) -> "Effort":
        from ...evaluation.effort import Effort

        return Effort(**self.model_dump(exclude={"enabled"}))


class Experiment(Section):
    """One experiment: data, models, training, defenses, attacks, threats, checks. `headline_eps`: ε of pictures and first
    lines, in the norm of FGSM, or where that is not run of the attacks."""

    title: str
    seed: Annotated[int, whole(0)] = 0
    headline_eps: AnyEpsilon
    data: Data
    models: dict[str, Model] = Field(min_length=1)
    training: dict[str, Any] = {}
    defenses: Defenses = Defenses.model_validate({})
    attacks: Attacks
    threats: dict[str, ThreatSection] = {}
    checks: CheckSettings = CheckSettings.model_validate({})

    @field_validator("models")
    @classmethod
    def _names(cls, value: dict[str, Model]) -> dict[str, Model]:
        check_names("model", value, "my-network")
        return value

    @model_validator(mode="before")
    @classmethod
    def _threats_are_attacks(cls, value: Any) -> Any:
        return with_attacks(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _headline_in_its_norm(self) -> Self:
        widest = max((section.geometry for section in self._headlined), key=lambda norm: norm.largest)
        try:
            widest.epsilon(self.headline_eps)
        except EscrimeError as error:
            raise ValueError(f"headline_eps: {error}") from None
        return self

    @model_validator(mode="after")
    def _settings_exist(self) -> Self:
        for name in self.models:
            for defense in ("none", *self.defenses.trainings):
                try:
                    self.train_settings(name, defense)
                except EscrimeError as error:
                    raise ValueError(f"{self._training_at_fault(name, defense, error)}: {error}") from None
        return self

    def _training_at_fault(self, model: str, defense: str, error: EscrimeError) -> str:
        """The section whose setting made `error`. What comes before a defense's own has passed by itself."""
        from ...training import TrainSettings

        if defense != "none":
            return f"defenses.{'' if defense == ADVERSARIAL else 'other-training.'}{defense}.training"
        try:
            TrainSettings(**self.training)
        except EscrimeError as same:
            if str(same) == str(error):
                return "training"
        return f"models.{model}.training"

    def train_settings(self, model: str, defense: str = "none") -> "TrainSettings":
        """TrainSettings of a model: [training], then the model's own, then those of the adversarial retraining `defense`."""
        from ...training import TrainSettings

        chosen = self.training | self.models[model].training
        if defense != "none":
            chosen = chosen | self.defenses.trainings[defense].training
        if self.data.train_size is not None and "crop_size" not in chosen:
            chosen["crop_size"] = self.data.size
        return TrainSettings(**chosen)

    @property
    def headline(self) -> float:
        """The ε closest to headline_eps, and above 0, of FGSM's grid, or where FGSM is not run of all."""
        positive = [eps for section in self._headlined for eps in section.epsilons if eps > 0] or [self.headline_eps]
        return min(positive, key=lambda eps: abs(eps - self.headline_eps))

    @property
    def headline_told(self) -> str | None:
        """A sentence where nothing is attacked at headline_eps, so that the first lines are about another ε."""
        if self.threats or same(self.headline, self.headline_eps):
            return None
        return f"nothing is attacked at headline_eps = {self.headline_eps:g}; the first lines are about {self.headline:g}."

    @property
    def headlines(self) -> dict[str, float]:
        """Norm → its headline: the first ε of a threat, else the one of all; see `verdict_eps`."""
        all_norms = {section.geometry.name: self.headline for section in self.attacks.by_label.values()}
        return all_norms | {name: norm(name).epsilon(section.epsilons[0]) for name, section in self.threats.items()}

    @property
    def in_linf(self) -> float | None:
        """The ε in l_inf closest to headline_eps, and above 0; None where nothing is attacked there."""
        grids = [section.epsilons for section in self.attacks.by_label.values() if section.geometry.name == DEFAULT]
        wanted = self.headlines.get(DEFAULT, self.headline_eps)
        return min((eps for grid in grids for eps in grid if eps > 0), key=lambda eps: abs(eps - wanted), default=None)

    @property
    def _headlined(self) -> list[AttackSection]:
        """The attacks from whose ε the headline is taken."""
        sections = self.attacks.by_label
        return [sections["FGSM"]] if "FGSM" in sections else list(sections.values())


def _enormous(value: Any, where: str = "") -> Iterator[str]:
    """The whole numbers in `value` that no setting is as large as, with their names."""
    if isinstance(value, dict | list):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in named:
            yield from _enormous(item, f"{where}.{name}" if where else str(name))
    elif enormous(value):
        yield f"{where} = {shown(value)}"


def check_experiment(raw: dict[str, Any], source: str) -> Experiment:
    """The typed experiment, or one sentence about the first thing that is wrong in `source`."""
    for found in _enormous(raw):
        raise EscrimeError(f"{source}: {found}: a setting is less than 2⁶³; give a smaller number.")
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        # A key that is wrong explains one that is missing, and a threat that is wrong attacks that are.
        order = lambda found: (found["type"] != "extra_forbidden", found["loc"][:1] != ("threats",))  # noqa: E731
        first = min(error.errors(), key=order)
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            parent, key = _section(first["loc"][:-1]), first["loc"][-1]
            names = [field.alias or name for name, field in parent.model_fields.items()]
            hint = nearest(key, names) or f" It takes {', '.join(names)}."
            raise EscrimeError(f"{source}: unknown key {where!r}.{hint}") from None
        if about_attacks := explained(first, source, where):
            raise about_attacks from None
        if first["type"] == "missing":
            raise EscrimeError(f"{source}: {where!r} is missing; add it.") from None
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"] and message.startswith(f"{first['loc'][-1]} = "):  # so that it is named once
            raise EscrimeError(f"{source}: {'.'.join(map(str, (*first['loc'][:-1], message)))}") from None
        if first["type"] in ("model_type", "dict_type"):
            message = "this is not a section; give it settings of its own, as [data] has."
        if isinstance(first["input"], dict):  # a whole section: the message names what is wrong in it
            raise EscrimeError(f"{source}: {where + ': ' if where else ''}{message}") from None
        raise EscrimeError(f"{source}: {where} = {_cut(repr(first['input']))}: {_cut(message, 1000)}") from None


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most] + "…"


def _section(location: tuple[int | str, ...]) -> type[BaseModel]:
    """The section class at a pydantic error location, so that its keys can be suggested."""
    here: Any = Experiment
    for part in location:
        if not (isinstance(here, type) and issubclass(here, BaseModel)):
            break
        fields = {field.alias or name: field for name, field in here.model_fields.items()}
        if part not in fields:
            return here
        kinds = [fields[part].annotation, *getattr(fields[part].annotation, "__args__", ())]
        here = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), here)
    return here
