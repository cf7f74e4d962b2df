"""What training borrows and gives back: the device, the global random generators, the memory format."""

from contextlib import contextmanager

import torch
from torch import nn

from ..errors import EscrimeError
from ..models.first_call import in_format
from ..randomness import key, seed_generators


def pick_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """The device asked for, or the model's; EscrimeError if this machine does not have it."""
    try:
        device = next(model.parameters()).device if device is None else torch.device(device)
        return torch.empty(0, device=device).device  # with its index
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise EscrimeError(f"device {str(device)!r} cannot be used here ({reason}); try 'cpu'.") from None


@contextmanager
def session(model: nn.Module, device: torch.device, channels_last: bool):
    """The model on the device in the run's memory format; afterwards in evaluation mode, all else as it was."""
    model.to(device)
    kernels = [tensor for tensor in model.state_dict().values() if tensor.dim() == 4]
    convert = channels_last and not all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in kernels)
    generators = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=generators), torch.enable_grad():
        if convert:
            in_format(model, torch.channels_last)
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)
            model.eval()
            if convert:
                in_format(model, torch.contiguous_format)


def training_mode(model: nn.Module, freeze_batchnorm: bool) -> None:
    """Training mode everywhere, but for BatchNorm where it is frozen."""
    model.train()
    if freeze_batchnorm:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def seed_dropout(device: torch.device, seed: int, epoch: int, rank: int = 0) -> None:
    """Seed what dropout draws from, another way in each process; only this device's generator, which `session` gives back."""
    parts = ("training", seed, "dropout", epoch) + ((rank,) if rank else ())
    seed_generators(key(*parts), [device.index] if device.type == "cuda" else [])
