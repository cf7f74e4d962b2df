"""A classifier that takes raw pixels: normalization is its first layer, logits are all it returns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EscrimeError
from .adapted import weights_type
from .outputs import is_plain, logits_in

Values = float | Sequence[float] | Tensor


class Normalized(nn.Module):
    """`network` behind `(images - mean) / std`: images float32 (N, C, H, W) in [0, 1] → logits (N, K).

    GoogLeNet and Inception return a tuple with auxiliary logits in training mode; here `forward` always returns the
    logits alone. Ask `logits_and_auxiliary` for the others.

    A network in half precision is given the normalized images so, and one that returns its logits in another form (see
    outputs.logits_in), as those of Hugging Face do, returns them alone here.

    Args:
        network: The classifier of normalized images, (N, C, H, W) → logits (N, K).
        mean: One number or one per channel, on the [0, 1] scale; kept as a buffer (1, C, 1, 1).
        std: The same, positive.

    Raises:
        EscrimeError: If mean or std is not finite, a std is not positive, or they are on the 0–255 scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Values, std: Values):
        super().__init__()
        self.network = network
        mean, std = channel_values("mean", mean), channel_values("std", std)
        if mean.numel() > 1 and std.numel() > 1 and mean.numel() != std.numel():
            raise EscrimeError(f"mean has {mean.numel()} values and std has {std.numel()}; give one value per channel.")
        if (std <= 0).any():
            raise EscrimeError(f"std = {std.flatten().tolist()} is not positive everywhere; images are divided by it.")
        if (mean.abs() > 1).any():
            raise EscrimeError(
                f"mean = {mean.flatten().tolist()} lies outside the pixel range [0, 1]; "
                "if it is on the 0–255 scale, divide mean and std by 255."
            )
        for name, tensor in zip(("mean", "std"), torch.broadcast_tensors(mean, std)):
            self.register_buffer(name, tensor.clone())

    def forward(self, images: Tensor, auxiliary: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The logits of raw pixels.

        Args:
            images: float32 (N, C, H, W) in [0, 1].
            auxiliary: Whether those of the auxiliary heads are wanted too.

        Returns:
            Logits (N, K); with `auxiliary=True` the pair (logits, list of auxiliary logits).
        """
        normalized = (images - self.mean) / self.std
        kind = weights_type(self.network)
        logits, others = _split(self.network(normalized if kind is None else normalized.to(kind)))
        return (logits, others) if auxiliary else logits

    def extra_repr(self) -> str:
        mean, std = ([round(v, 4) for v in t.flatten().tolist()] for t in (self.mean, self.std))
        return f"mean={mean}, std={std}"


def logits_and_auxiliary(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits of a network and those of its auxiliary heads, as GoogLeNet and Inception have them in training.

    Wrappers that keep the model under `.module` (DistributedDataParallel, Lightning Fabric) or `._orig_mod` (torch.compile)
    are called, not bypassed, so that their hooks run.

    Args:
        model: Any module that returns logits.
        images: float32 (N, C, H, W) in [0, 1].

    Returns:
        Logits (N, K), and the list of auxiliary logits, each (N, K), in the order of the heads from input to output; it is
        empty in eval mode and for a network without auxiliary heads.
    """
    if isinstance(_unwrapped(model), Normalized):
        return model(images, auxiliary=True)
    return _split(model(images))


@contextmanager
def returning_logits(model: nn.Module) -> Iterator[None]:
    """Within the block the module takes images in float32, and in evaluation mode it returns logits (N, K), whoever calls it:
    for training, where it has to be the user's own. In training mode its auxiliary heads are wanted too, see
    `logits_and_auxiliary`."""
    kind = weights_type(model)

    def read(module: nn.Module, given: tuple, output: Any) -> Any:
        return output if module.training or is_plain(output) or not is_plain(found := logits_in(output)) else found

    hooks = [] if isinstance(_unwrapped(model), Normalized) else [model.register_forward_hook(read)]
    if kind not in (None, torch.float32):
        hooks.append(model.register_forward_pre_hook(lambda _, given: (given[0].to(kind), *given[1:]) if given else None))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of torch and Lightning, which pass keyword arguments on; others may not."""
    while type(model).__module__.partition(".")[0] in ("torch", "lightning", "lightning_fabric"):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def _split(output: Any) -> tuple[Tensor, list[Tensor]]:
    """Logits and auxiliary logits from a network's output: torchvision's GoogLeNet and Inception return a tuple of both; what
    else a tuple holds, such as features, has another shape."""
    logits = logits_in(output)
    if not isinstance(output, tuple) or not isinstance(logits, Tensor):
        return logits, []
    # torchvision's GoogLeNetOutputs counts from the output back: (logits, aux_logits2, aux_logits1).
    others = [other for other in reversed(output[1:]) if isinstance(other, Tensor)]
    return logits, [other for other in others if other.shape == logits.shape]


def channel_values(name: str, value: Values, channels: int | None = None) -> Tensor:
    """`value`, one number or one per channel, as float32 (1, C, 1, 1); one number is repeated for `channels`."""
    try:
        tensor = torch.as_tensor(value, dtype=torch.float32).detach().clone().reshape(1, -1, 1, 1)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise EscrimeError(f"{name} = {repr(value)[:60]} is not a number or a list of numbers, one per channel.") from None
    if tensor.numel() == 0 or not tensor.isfinite().all():
        raise EscrimeError(f"{name} = {tensor.flatten().tolist()} must be finite, with one value per channel.")
    if channels is not None and tensor.numel() not in (1, channels):
        raise EscrimeError(f"{name} = {tensor.flatten().tolist()} needs one value, or {channels}: one per channel.")
    return tensor.expand(1, channels or -1, 1, 1).clone()
