"""What the command line changes in an experiment before it is checked."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from ...errors import EscrimeError, nearest


def apply_changes(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The raw settings with the options of `escrime run` applied; None leaves a setting as it is."""
    raw = deepcopy(raw)
    for where, value in _sections(raw):
        if not isinstance(value, dict):
            raise EscrimeError(f"{where} = {value!r} is not a section; write [{where}] and its settings below.")
    given = {key: value for key, value in changes.items() if value not in (None, [], ())}
    section = raw.setdefault("data", {})
    for option, key in (
        ("data", "folder"),
        ("size", "size"),
        ("limit", "limit"),
        ("skip_unreadable", "skip_unreadable"),
    ):
        if option in given:
            section[key] = str(given[option]) if option == "data" else given[option]
    if "seed" in given:
        raw["seed"] = given["seed"]
    if "models" in given:
        raw["models"] = _models(raw.get("models", {}), given["models"])
    for entry in given.get("weights", []):
        _weights(raw.get("models", {}), entry)
    if "epochs" in given:
        raw.setdefault("training", {})["epochs"] = given["epochs"]
        for model in raw.get("models", {}).values():
            model.get("training", {}).pop("epochs", None)
    if "adversarial_epochs" in given:
        defenses = raw.get("defenses", {})
        trainings = [*defenses.get("other-training", {}).values()]
        trainings += [defenses["adversarial-training"]] if "adversarial-training" in defenses else []
        if not trainings:
            raise EscrimeError(
                "--adversarial-epochs: this experiment has no adversarial training ([defenses.adversarial-training])."
            )
        for training in trainings:
            training.setdefault("training", {})["epochs"] = given["adversarial_epochs"]
    return raw


def _sections(raw: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the changes take for a section, by name. Whoever asks for the next has checked the last."""
    yield from ((key, raw[key]) for key in ("data", "training", "models", "defenses") if key in raw)
    owners = {f"models.{name}": model for name, model in raw.get("models", {}).items()}
    hardened = ("adversarial-training", "other-training")
    defenses = {f"defenses.{key}": value for key, value in raw.get("defenses", {}).items() if key in hardened}
    yield from defenses.items()
    others = defenses.pop("defenses.other-training", {})
    owners |= defenses | {f"defenses.other-training.{name}": other for name, other in others.items()}
    for where, owner in owners.items():
        yield where, owner
        if "training" in owner:
            yield f"{where}.training", owner["training"]


def _models(models: dict, wanted: str) -> dict:
    """The named models; another architecture joins with the weights setting the experiment's models share."""
    from ...models import ARCHITECTURES

    chosen = {}
    for name in filter(None, (part.strip() for part in wanted.split(","))):
        if name in models:
            chosen[name] = models[name]
        else:
            from ...models.registry import architecture

            try:
                entry = architecture(name)
            except EscrimeError:
                names = [*models, *(a for a in ARCHITECTURES if a not in models)]
                raise EscrimeError(
                    f"--models {name!r} is neither a model of this experiment nor an architecture escrime knows "
                    f"({', '.join(names)}).{nearest(name, names)}"
                ) from None
            first, *others = [model.get("weights", "none") for model in models.values()] or ["none"]  # not checked yet
            chosen[name] = {"arch": name, "weights": first if all(other == first for other in others) else "none"}
            if entry.stands_for:
                chosen[name]["stands_for"] = entry.stands_for
    if not chosen:
        raise EscrimeError(f"--models {wanted!r} names no model; the experiment has {', '.join(models)}.")
    return chosen


def _weights(models: dict, entry: str) -> None:
    if not models:
        raise EscrimeError(
            f"--weights {entry!r}: the experiment has no model to load them into; add [models.NAME] with its arch, or name "
            "one with --models."
        )
    name, separator, source = entry.partition("=")
    if separator and name in models:
        models[name] = models[name] | {"weights": source}
    elif len(models) == 1 and (not separator or "/" in name or "://" in entry):
        (name,) = models
        models[name] = models[name] | {"weights": entry}
    elif separator:
        raise EscrimeError(
            f"--weights {entry!r}: {name!r} is not a model of this run ({', '.join(models)}).{nearest(name, models)}"
        )
    elif entry in ("none", "torchvision"):
        for model in models.values():
            model["weights"] = entry
    else:
        raise EscrimeError(
            f"--weights {entry!r} does not say for which model ({', '.join(models)}); "
            f"write --weights {next(iter(models))}={entry}."
        )
