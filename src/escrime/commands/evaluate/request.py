"""What `escrime evaluate` is to do: a model, images, what the attacker sees, and how much time there is."""

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from ...access import ACCESS, GRADIENTS, LABELS, SCORES, Access
from ...errors import EscrimeError
from ...norms import DEFAULT, norm
from ...regular_files import is_folder
from ...validation import check_choice, check_time, check_whole
from ..catalog import attack_named
from ..shared.threats import Threat, check_above_zero

# The attacks that are run where none is named, by what the attacker sees: of each threat those that work in its norm.
USUAL = {
    GRADIENTS: ("FGSM", "AutoAttack", "Spatial", "Corruption"),
    SCORES: ("Square", "SparseRS", "Spatial", "Corruption"),
    LABELS: ("RayS", "HopSkipJump", "Spatial", "Corruption"),
}
BESIDE = ("surrogates", "deployed")  # networks beside the model, of which most requests have none
# Words of a function's name that tell no more than that it makes a model.
MAKES_A_MODEL = "load get make build create init new my our the a model models net network nn classifier cnn main fn".split()


@dataclass(frozen=True)
class Request:
    """What to evaluate: which model (a specification, see models.SPECS) on which images (a folder, or a dataset's name).

    epsilons, norm: what bounds the attacker, the first ε being the headline; or `threats`, several of these at once. access:
    what the attacker sees, None for all that the model gives away. attacks: names of escrime's, () for the usual ones of that
    access. limit: that many images, as many of each class as of any other. budget:
    seconds that attacks and checks may take, None for all images. anyway: go on although the model looks wrongly loaded. mean,
    std: the normalization to put in front of the model, or in place of its own; one number or one per channel. trust: the
    model may be a file that runs code as it is read. classes: a file of the names of its classes. name: what the model is
    called in files and tables, None for its own name. mask: a picture, white where pixels may change, None for all of them.
    surrogates: specifications of networks that examples are made on as well. deployed: that of what is deployed in the model's
    place, which is shown the same examples.
    """

    model: str
    images: str
    epsilons: tuple[float, ...] = ()
    norm: str = DEFAULT
    access: Access | None = None
    attacks: tuple[str, ...] = ()
    limit: int | None = None
    size: int | None = None
    budget: float | None = None
    seed: int = 0
    anyway: bool = False
    skip_unreadable: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    trust: bool = False
    classes: str | None = None
    name: str | None = None
    mask: str | None = None
    threats: tuple[Threat, ...] = ()
    surrogates: tuple[str, ...] = ()
    deployed: str | None = None

    def __post_init__(self) -> None:
        if is_folder(self.images):  # photos/ and photos are one folder
            object.__setattr__(self, "images", os.path.normpath(self.images))
        if not self.threats:
            check_above_zero([norm(self.norm).epsilon(eps) for eps in self.epsilons])
            object.__setattr__(self, "threats", (Threat(self.norm, self.epsilons),))
        object.__setattr__(self, "norm", self.threats[0].norm)
        object.__setattr__(self, "epsilons", self.threats[0].epsilons)
        check_name(self.name)
        if self.access is not None:
            check_choice("access", self.access, ACCESS)
        for name in self.attacks:
            if attack_named(name)["needs_target"]:
                raise EscrimeError(
                    f"attack {name!r} needs a class to reach, and here every wrong class counts; leave it out, or give it its "
                    "target in an experiment file."
                )
        for name, value, unit in (("limit", self.limit, "images"), ("size", self.size, "pixels")):
            if value is not None:
                check_whole(name, value, of=unit, hint="or leave it out")
        if self.mean is not None or self.std is not None:
            from ...models.loading.normalizing import check_normalization  # which waits for torch

            check_normalization(self.mean, self.std)
        if self.budget is not None:
            object.__setattr__(self, "budget", check_time("budget", self.budget))

    def as_dict(self) -> dict:
        """Its fields by the names that files give them: what the attacker sees is called threat there. What bounds the attacker
        is one norm and its ε, or of several threats norm → ε."""
        values = {"threat" if name == "access" else name: value for name, value in asdict(self).items() if name != "threats"}
        values = {name: value for name, value in values.items() if value or name not in BESIDE}
        several = {threat.norm: list(threat.epsilons) for threat in self.threats}
        return values | ({"threats": several} if len(several) > 1 else {})

    def settings(self) -> dict:
        """JSON values for the manifest: what a continued evaluation must share. The budget may change."""
        values = {name: value for name, value in self.as_dict().items() if name not in ("budget", "anyway", "trust", "name")}
        values |= {"epsilons": list(self.epsilons), "attacks": list(self.attacks)}
        values |= {name: list(values[name]) for name in ("mean", "std") if values[name] is not None}
        for name in ("mask", *BESIDE):  # which are known by what they hold, not by their names: see Assessment.settings
            values.pop(name, None)
        return {"title": f"{self.model} on {self.images}", **values}


def check_name(name: str | None) -> None:
    """Raise EscrimeError for a --name that no file can have."""
    if name is not None and file_name(name) != name:
        raise EscrimeError(f"--name {name!r} cannot be part of a file's name; write it as {file_name(name)!r}.")


def short_name(spec: str) -> str:
    """A name for files and tables from a specification: torchvision:resnet50@V2 → resnet50."""
    text = spec.partition(":")[2] if spec.partition(":")[0] in ("torchvision", "timm", "hf") else spec
    text = text.partition("@")[0] if not text.endswith((".pt2", ".onnx")) else Path(text).stem
    return file_name(Path(text).name)


def own_name(spec: str, kind: type) -> str:
    """What the model of the class `kind` that `spec` made is called.

    One of FILE.py:FUNCTION has the function's name where that tells more than that it makes a model, else its class's where its
    maker wrote that, else the file's: mine.py:load → PhotoNet, or mine.
    """
    file, colon, function = spec.rpartition(".py:")
    if not colon:
        return short_name(spec)
    if any(word and word not in MAKES_A_MODEL for word in re.split(r"[_\d]+", function.lower())):
        return file_name(function)
    written = kind.__module__.partition(".")[0] not in ("torch", "builtins", "functools", "escrime")
    return file_name(kind.__name__ if written else Path(file).name)


def file_name(text: str) -> str:
    """The text with what has no place in a file's name, or divides names there, replaced."""
    return re.sub("--+", "-", "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text)) or "model"
