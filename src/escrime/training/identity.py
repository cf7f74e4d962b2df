"""Which run this is: what a checkpoint must agree with before it is continued."""

import json
from functools import partial
from hashlib import blake2b

import torch
from torch import nn

from ..data.imageset import ImageSet
from .overfitting.holdout import probed_eps
from .settings import TrainSettings


def identity(
    model: nn.Module, data: ImageSet, objective: object, settings: TrainSettings, seed: int, teacher: str | None = None
) -> dict:
    """What makes two runs the same run, as a flat dict of JSON values. teacher: the `appearance` of one.

    Which weights are kept and whether an alarm stops the run are not part of it: they change no epoch.
    """
    fields = objective.as_dict() if hasattr(objective, "as_dict") else _described(objective)
    values = settings.as_dict(taught=teacher is not None)
    for name in ("on_overfitting", "keep", *(["probe_images"] if probed_eps(objective, settings) is None else [])):
        del values[name]
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    # torch's own layers show their settings, such as the rate of a dropout; others may show anything.
    layers = [(name, repr(m)) for name, m in model.named_modules() if type(m).__module__.startswith("torch.nn.modules")]
    layers = [(name, text) for name, text in layers if "\n" not in text]
    found = {
        "objective": fields.pop("name"),
        **{f"objective.{key}": value for key, value in fields.items()},
        **({} if teacher is None else {"teacher": teacher}),
        **values,
        "seed": seed,
        "architecture": _hash(shapes + layers),
        "trained_parameters": f"{len(trained)}, {_hash(trained)}",
        "number_of_training_images": len(data.ids),
        "data": data.fingerprint,
        "order_of_the_data": _hash(list(data.ids)),
    }
    return json.loads(json.dumps(found, default=repr))  # as a file gives it back: a tuple is a list


def appearance(model: nn.Module) -> str:
    """Hash of a network's weights, of the classes of its parts and of their plain attributes, such as an ε."""
    plain, parts = (bool, int, float, str, tuple), []
    for name, module in model.named_modules():
        settings = {k: v for k, v in vars(module).items() if isinstance(v, plain) and not k.startswith("_") and k != "training"}
        parts.append((name, f"{type(module).__module__}.{type(module).__qualname__}", sorted(settings.items())))
    return _hash([weights_digest(model), parts])


def _described(objective: object) -> dict:
    """Name and settings of a callable that is no Objective."""
    if isinstance(objective, partial):
        inner = _described(objective.func)
        return inner | {"arguments": list(map(repr, objective.args)), **{k: repr(v) for k, v in objective.keywords.items()}}
    if hasattr(objective, "__qualname__"):
        return {"name": f"{objective.__module__}.{objective.__qualname__}"}
    kind, plain = type(objective), (bool, int, float, str, tuple, list)
    settings = {key: repr(value) for key, value in getattr(objective, "__dict__", {}).items() if isinstance(value, plain)}
    return {"name": f"{kind.__module__}.{kind.__qualname__}"} | settings


def _hash(value: object) -> str:
    return blake2b(repr(value).encode(), digest_size=8).hexdigest()


def weights_digest(model: nn.Module) -> str:
    """Hash of all weights and buffers."""
    digest = blake2b(digest_size=8)
    for tensor in (value for value in model.state_dict().values() if isinstance(value, torch.Tensor)):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
