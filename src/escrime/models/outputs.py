"""What somebody's classifier returns, read as logits (N, K), in whatever form: the one place where those forms are known."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


def logits_in(output: Any) -> Any:
    """The logits in an output: a tensor itself, its attribute `logits` (as of Hugging Face's models), its key "logits", or the
    first of a tuple (as torchvision's networks with auxiliary heads return). Anything else as it is, for the caller to refuse.

    Args:
        output: What a model returned.

    Returns:
        A tensor, where there is one; one logit per image, (N, 1), as the two logits (0, z) of a binary classifier, (N, 2).
    """
    if isinstance(output, Tensor):
        return _of_both(output)
    if isinstance(output, Mapping) and "logits" in output:
        return logits_in(output["logits"])
    if isinstance(getattr(output, "logits", None), Tensor):
        return _of_both(output.logits)
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return _of_both(output[0])
    return output


def is_plain(output: Any) -> bool:
    """Whether an output is what code of ours may work with at once: a tensor of two logits or more per image."""
    return isinstance(output, Tensor) and not (output.dim() == 2 and output.shape[1] == 1)


def described(output: Any) -> str:
    """An output that holds no logits, in words."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, list(output)[:5])) or 'nothing'}"
    return f"a {type(output).__name__}"


def _of_both(logits: Tensor) -> Tensor:
    """sigmoid(z) = softmax((0, z)) of the second class: a single logit says as much as two."""
    if logits.dim() != 2 or logits.shape[1] != 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=1)
