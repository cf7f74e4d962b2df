"""Which device to work on, and the other processes of a torchrun."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import EscrimeError, nearest, needs_extra

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric


def pick_device(name: str | None) -> "torch.device":
    """The torch device to work on: the one named, or a GPU if there is one."""
    check_device(name)
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EscrimeError(f"device {name!r} is not available: torch sees no CUDA GPU here; use --device cpu.")
    return device


def check_device(name: str | None) -> None:
    """Raise EscrimeError for the name of no device that escrime works on."""
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d{1,4})?", name):
        raise EscrimeError(f"device {name!r} is unknown; use cpu, cuda or cuda:N.{nearest(name, ('cpu', 'cuda'))}")


def own_device(name: str | None, what: str) -> "torch.device":
    """As `pick_device`, for the command `what`, whose work one process does: under torchrun every process would do all of it,
    in one folder."""
    if (count := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise EscrimeError(
            f"escrime {what} works in one process, and torchrun started {count} (WORLD_SIZE); start it without torchrun. "
            "train, evaluate and run share their work."
        )
    return pick_device(name)


@contextmanager
def processes(name: str | None) -> Iterator["torch.device"]:
    """The device of this process, alone or one of those that torchrun has started, on one machine or on many: Lightning
    Fabric joins them and gives every process its own GPU. Which one this is: `escrime.distributed.Processes`."""
    device = pick_device(name)
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield device
        return
    if device.index is not None:
        raise EscrimeError(f"{count} processes cannot all work on {name}; say --device cuda, and each gets a GPU of its own.")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    if device.type == "cuda":
        import torch

        if torch.cuda.device_count() < here:
            raise EscrimeError(
                f"{here} processes were started here for {torch.cuda.device_count()} GPUs; "
                "start as many as there are, or say --device cpu."
            )
    fabric = _fabric(accelerator=device.type, devices=here, num_nodes=count // here)
    fabric.launch()
    try:
        yield fabric.device
    finally:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def _fabric(**settings: Any) -> "Fabric":
    import logging
    from datetime import timedelta

    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError:
        raise needs_extra("several processes", "Lightning Fabric", "distributed") from None
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # One process may work alone for hours, as when it judges the model: the others wait.
    return Fabric(strategy=DDPStrategy(timeout=timedelta(days=7)), **settings)
