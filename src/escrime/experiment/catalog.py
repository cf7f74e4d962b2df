"""What there is, for `escrime list`."""

import tomllib

from .schema import shipped


def catalog() -> dict[str, dict[str, str]]:
    """Section → name → one line."""
    from .. import attacks, defenses
    from ..data import DATASETS
    from ..models import ARCHITECTURES
    from ..training import OBJECTIVES

    def first_line(thing) -> str:
        return (thing.__doc__ or "").strip().splitlines()[0]

    def exported(room, base) -> dict[str, str]:
        classes = {name: getattr(room, name) for name in room.__all__}
        return {name: first_line(c) for name, c in classes.items() if issubclass(c, base) and c is not base}

    import torch

    return {
        "Experiments (escrime run NAME)": {
            n: tomllib.loads(p.read_text(encoding="utf-8"))["title"] for n, p in shipped().items()
        },
        "Datasets": dict(DATASETS),
        "Architectures": {name: entry.description for name, entry in ARCHITECTURES.items()},
        "Attacks": exported(attacks, attacks.Attack),
        "Defenses": exported(defenses, torch.nn.Module),
        "Training objectives": {name: entry.source for name, entry in OBJECTIVES.items()},
    }
