"""Models that were saved for one batch size."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_batches_of(size: int | None, call: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """call(images) (N, …), asked in batches of exactly `size` images, the last one filled up with copies of its last; None:
    all at once."""
    if size is None:
        return call(images)
    outputs = []
    for part in images.split(size):
        missing = size - len(part)
        padded = torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) if missing else part
        outputs.append(call(padded)[: len(part)])
    return torch.cat(outputs)
