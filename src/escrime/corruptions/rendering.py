"""Images under a common corruption."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..budgets import LEVELS
from ..checks import check_images
from ..errors import EscrimeError
from ..randomness import as_keys
from ..validation import check_choice, check_seed, check_whole
from .table import SEVERITIES, TABLE

AT_ONCE = 2**18  # color values of the images that go through a corruption together: they stay in the processor's cache


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Sequence[object] | None = None,
    frost: str | Path | None = None,
) -> Tensor:
    """Images under a common corruption of Hendrycks & Dietterich (2019) with their parameters: those for ImageNet, and for
    images of up to 64 px those for CIFAR. As theirs, the images are read as 8-bit pictures and come back as such.

    It is computed on the CPU, image by image: the same image comes out the same in any batch, on a machine with a GPU too.

    Source: Hendrycks & Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations.

    Args:
        images: float32 (N, C, H, W) in [0, 1], of 1 or 3 channels.
        name: One of `COMMON`, the fifteen, or `EXTRA`, the other four.
        severity: From 1 to 5.
        seed: Of the randomness.
        ids: One per image, by default 0, 1, …: an image's draws come from (seed, id, corruption), the same at every severity.
        frost: A folder of photographs for "frost", such as the authors'; without one the ice is made up.

    Returns:
        float32 (N, C, H, W) in [0, 1], each value a level k/255, on the device of `images`.

    Raises:
        EscrimeError: For images outside the contract, a corruption that there is none of, and a severity beyond 1 … 5.
    """
    images = check_images(images)
    ids = range(len(images)) if ids is None else tuple(ids)
    if len(ids) != len(images):
        raise EscrimeError(f"ids name {len(ids)} images, but {len(images)} were given; give one id per image.")
    if frost is not None and name != "frost":
        raise EscrimeError(f"frost={str(frost)!r} is a folder for the corruption frost, not for {name}; leave it out.")
    return render(images, name, severity, keys_of(name, check_seed(seed), ids), frost)


def keys_of(name: str, seed: int, ids: Sequence[object]) -> Tensor:
    """What the draws of a corruption come from, int64 (N,), one for each image id."""
    return as_keys([(seed, image, "corruption", name) for image in ids])


def render(images: Tensor, name: str, severity: int, keys: Tensor, frost: str | Path | None = None) -> Tensor:
    """As `corrupt`, from the images' keys (N,)."""
    entry = TABLE[check_choice("corruption", name, TABLE)]
    if check_whole("severity", severity, hint="such as 3") > SEVERITIES[-1]:
        raise EscrimeError(f"severity = {severity} is beyond the five that are published; give a whole number from 1 to 5.")
    channels, height, width = images.shape[1:]
    if channels not in (1, 3):
        raise EscrimeError(
            f"the images have {channels} channels; a corruption is made for gray (1) or color (3). Leave the others out."
        )
    parameter, made = entry.parameter(severity, height, width), torch.empty(images.shape, dtype=torch.float32)
    options = () if frost is None else (frost,)
    with torch.no_grad():
        together = max(AT_ONCE // max(channels * height * width, 1), 1)
        for at in (slice(start, start + together) for start in range(0, len(images), together)):
            levels, part = images[at].cpu().contiguous().mul(LEVELS).round_(), keys[at].cpu()
            changed = entry.make(levels, part, parameter, *options)
            # Cut off, as theirs; what rounding leaves a hair below a whole level is that level.
            made[at] = changed.clamp(0, LEVELS).add_(1 / 1024).floor_().div_(LEVELS)
    return made.to(images.device)
