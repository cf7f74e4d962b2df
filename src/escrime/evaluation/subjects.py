"""Which model is attacked and which is scored: the threat levels.

*transfer*: the attack sees the undefended network, as in the paper, or surrogates. *adaptive*: the attack differentiates
through the defense, with expectation over its noise. An undefended network has one level, *white-box*, or *black-box* where it
gives no gradients, beside transfer from surrogates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..attacks.transfer import Transfer
from ..errors import EscrimeError
from ..models.running import Classifier
from ..results.threats import ADAPTIVE, DEPLOYED, TRANSFER, WHITE_BOX

AnyAttack = Callable[..., Tensor]  # an Attack, or any attack(model, images, labels) → images
Epsilons = float | str | Sequence[float | str]  # one ε or several


@dataclass(frozen=True)
class Subject:
    """A classifier to score.

    Args:
        model: the name of the model.
        classifier: images (N, C, H, W) in [0, 1] → logits (N, K).
        defense: its name, "none" without one.
        undefended: what a transfer attack sees: the wrapped network of a defense, or the network before retraining.
    """

    model: str
    classifier: nn.Module
    defense: str = "none"
    undefended: nn.Module | None = None


Models = Classifier | Subject | Sequence[Classifier | Subject] | Mapping[str, Classifier | Subject]


@dataclass(frozen=True)
class Case:
    """A subject under one threat level; `attacked` is the network whose gradients the attack uses."""

    subject: Subject
    threat: str
    attacked: nn.Module

    @property
    def name(self) -> tuple[str, str, str]:
        return self.subject.model, self.subject.defense, self.threat


def as_subjects(models: Any) -> list[Subject]:
    """Subjects from a classifier, a dict of name → classifier (or Subject), or a list of subjects.

    A wrapper that names its `defense` and its `undefended` network, such as PredictionAveraging, becomes a defended
    subject.
    """
    if isinstance(models, Subject):
        return [models]
    if isinstance(models, (list, tuple)):
        return [subject for model in models for subject in as_subjects(model)]
    if callable(models) and not isinstance(models, dict):
        models = {"model": models}
    if not isinstance(models, dict) or not models:
        raise EscrimeError(f"models is a {type(models).__name__}; give a classifier or a dict of name → classifier.")
    subjects = []
    for name, model in models.items():
        if isinstance(model, Subject):
            subjects.append(model)
        elif not callable(model):
            raise EscrimeError(f"model {name!r} is a {type(model).__name__}; give a torch.nn.Module that returns logits.")
        else:
            subjects.append(_as_subject(str(name), model))
    return subjects


def _as_subject(name: str, model: Any) -> Subject:
    defense, undefended = getattr(model, "defense", None), getattr(model, "undefended", None)
    if not isinstance(defense, str):  # a layer of the user's that is called so
        return Subject(name, model)
    return Subject(name, model, defense, undefended if callable(undefended) else None)


def as_cases(subjects: list[Subject]) -> list[Case]:
    """Every subject under every threat level that applies to it."""
    cases = []
    for subject in subjects:
        if subject.defense == "none":
            cases.append(Case(subject, WHITE_BOX, subject.classifier))
            continue
        if subject.undefended is not None:
            cases.append(Case(subject, TRANSFER, subject.undefended))
        cases.append(Case(subject, ADAPTIVE, subject.classifier))
    names = [case.name for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise EscrimeError(f"two subjects share the name {' / '.join(name)}; give each (model, defense) its own name.")
    return cases


def cases_of(attack: AnyAttack, cases: Sequence[Case]) -> list[Case]:
    """The cases that an attack is recorded under. What is made on surrogates owes nothing to who is attacked, and is shown to
    every subject once, at the level of transfer."""
    if not isinstance(attack, Transfer):
        return list(cases)
    return list({case.name: case for case in map(_shown, cases)}.values())


def _shown(case: Case) -> Case:
    return case if case.threat == DEPLOYED else Case(case.subject, TRANSFER, case.attacked)


def deployed_case(models: Any, cases: Sequence[Case], name: str = DEPLOYED) -> Case:
    """The case of what is deployed in place of the one model that is attacked: a classifier that is shown the same examples.

    Raises:
        EscrimeError: For several models or defenses, of which it would have to be one's, and for what is no classifier.
    """
    if len(cases) != 1:
        named = ", ".join(dict.fromkeys(f"{case.subject.model} ({case.subject.defense})" for case in cases))
        raise EscrimeError(f"a deployed model stands for one model without a defense, not for {named}; give that one alone.")
    if not callable(models) or isinstance(models, type):
        raise EscrimeError(f"deployed is a {type(models).__name__}; give the classifier that is deployed, images → logits.")
    only = cases[0]
    name = f"{name}-{DEPLOYED}" if name == only.subject.model else name
    return Case(Subject(name, models), DEPLOYED, only.attacked)
