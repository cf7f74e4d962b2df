"""What training borrows and gives back: the device, the global random generators, the memory format."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

from ..models.fast.first_call import in_format
from ..models.running import existing_device
from ..randomness import key, seed_all_generators, states_kept


def pick_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """The device asked for, or the model's; EscrimeError if this machine does not have it."""
    return existing_device(next(model.parameters()).device if device is None else device)


@contextmanager
def session(model: nn.Module, device: torch.device, layout: torch.memory_format) -> Iterator[None]:
    """The model on the device in the memory format `layout`; afterwards in evaluation mode, all else as it was."""
    model.to(device)
    tensors = [tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.dim() == 4]
    before = [tensor.is_contiguous() for tensor in tensors]
    with own_generators(device), torch.enable_grad():
        if layout == torch.channels_last:
            in_format(model, layout)
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)
            model.eval()
            for tensor, plain in zip(tensors, before):
                if plain:
                    tensor.data = tensor.data.contiguous()


@contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """Within the block the global generators of torch (on the CPU and the device), numpy and Python may be drawn from;
    afterwards they are as they were."""
    with torch.random.fork_rng(devices=[device.index] if device.type == "cuda" else []), states_kept():
        yield


def training_mode(model: nn.Module, freeze_batchnorm: bool) -> None:
    """Training mode everywhere, but for BatchNorm where it is frozen."""
    model.train()
    if freeze_batchnorm:
        for module in filter(keeps_statistics, model.modules()):
            module.eval()


def keeps_statistics(module: nn.Module) -> bool:
    """Whether it keeps running statistics, by which it normalizes in evaluation mode only: BatchNorm and its kin, also those
    that users write."""
    return any(name == "running_mean" for name, _ in module.named_buffers(recurse=False))


def seed_dropout(device: torch.device, seed: int, epoch: int, rank: int = 0) -> None:
    """Seed what dropout draws from, and what else a model may draw from, another way in each process; of the devices only
    this one's generator, which `session` gives back with the others."""
    number = key("training", seed, "dropout", epoch, *([rank] if rank else []))
    seed_all_generators(number, [device.index] if device.type == "cuda" else [])
