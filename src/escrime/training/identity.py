"""Which run this is: what a checkpoint must agree with before it is continued."""

from dataclasses import asdict, is_dataclass
from hashlib import blake2b

import torch
from torch import nn

from .holdout import probed_eps
from .settings import TrainSettings


def identity(model: nn.Module, data, objective, settings: TrainSettings, seed: int) -> dict:
    """What makes two runs the same run, as a flat dict of JSON values.

    Which weights are kept and whether an alarm stops the run are not part of it: they change no epoch.
    """
    if hasattr(objective, "as_dict"):
        fields = objective.as_dict()
    else:
        kind = objective if hasattr(objective, "__qualname__") else type(objective)
        fields = {"name": f"{kind.__module__}.{kind.__qualname__}"}
        fields |= {key: repr(value) for key, value in asdict(objective).items()} if is_dataclass(objective) else {}
    values = settings.as_dict()
    for name in ("on_overfitting", "keep", *(["probe_images"] if probed_eps(objective, settings) is None else [])):
        del values[name]
    shapes = repr([(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()])
    return {
        "objective": fields.pop("name"),
        **{f"objective.{key}": value for key, value in fields.items()},
        **values,
        "seed": seed,
        "architecture": blake2b(shapes.encode(), digest_size=8).hexdigest(),
        "trained_parameters": sum(parameter.requires_grad for parameter in model.parameters()),
        "number_of_training_images": len(data.ids),
        "data": str(getattr(data, "fingerprint", "")),
    }


def weights_digest(model: nn.Module) -> str:
    """Hash of all weights and buffers."""
    digest = blake2b(digest_size=8)
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
