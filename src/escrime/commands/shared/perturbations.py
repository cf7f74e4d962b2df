"""The folder perturbations/ of a run: what universal attacks were fitted to, and a picture of each, a patch's to print."""

import json
import re
from math import isfinite
from pathlib import Path

from torch import Tensor

from ...attacks.core.pictures import CHANNELS, write_picture
from ...errors import EscrimeError
from ...evaluation.universal import HALVES, Perturbations
from ...files import whole
from ...models.loading.weights import METADATA, read_safetensors
from ...regular_files import is_regular
from ...results.layout import PERTURBATIONS, perturbation_picture
from ...training.checkpoint import write_tensors

NAME = re.compile(r"half([01])-eps(\d\S*)")  # of a tensor


def write(folder: Path, name: str, found: Perturbations, pictures: dict[tuple[int, float], Tensor]) -> None:
    """Keep what was fitted for an attack on a case, `name`, in a run folder.

    pictures: (C, H, W) in [0, 1]. Each is called by the half of the images, 1 or 2, that it was fitted on.
    """
    for (half, eps), picture in pictures.items():
        if len(picture) in CHANNELS:
            write_picture(perturbation_picture(folder, name, eps, half), picture, follow=False)
    about = {"digest": found.digest, "forwards": found.forwards, "backwards": found.backwards}
    tensors = {f"half{half}-eps{eps!r}": tensor for (half, eps), tensor in found.made.items()}
    with whole(folder / PERTURBATIONS / f"{name}.safetensors", follow=False) as new:
        write_tensors(new, tensors, {METADATA: json.dumps(about)})


def read(folder: Path, name: str) -> Perturbations | None:
    """What `write` kept, None where it did not.

    Raises:
        EscrimeError: For a file that holds something else.
    """
    path = folder / PERTURBATIONS / f"{name}.safetensors"
    if not is_regular(path):
        return None
    tensors, about = read_safetensors(path)
    try:
        named = {key: NAME.fullmatch(key) for key in tensors}
        made = {(int(match[1]), float(match[2])): tensors[key].float() for key, match in named.items() if match is not None}
        spent = {what: tuple(map(float, about[what])) for what in ("forwards", "backwards")}
        if len(made) < len(tensors) or not all(
            len(each) == len(HALVES) and all(map(isfinite, each)) for each in spent.values()
        ):
            raise ValueError("it names other things")
        return Perturbations(made, digest=str(about["digest"]), **spent)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise EscrimeError(f"{path} holds no perturbations of a run ({error}); delete it, and it is made again.") from None


def pictures(folder: Path) -> list[Path]:
    """The pictures in a run folder, by name."""
    return sorted((folder / PERTURBATIONS).glob("*.png"))
