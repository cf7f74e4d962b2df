"""Work by several processes at once: evaluations share their parts and examinations, trainings their batches.

In training each process takes its part of every batch, and gradients are averaged before every step. The batch of a step
stays the run's `batch_size`, divided among the processes; so the learning rate needs no rule, and the steps are those of one
process up to rounding, but for BatchNorm, which normalizes with each process's own part of the batch (running statistics are
averaged after every epoch), and for mixtures, which are of two images of one part. Which process sees an image has no part in
the randomness drawn for it. The gradients are averaged here, not by DistributedDataParallel, whose hooks do not allow the
input gradients that crafting takes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from .errors import EscrimeError

Value = TypeVar("Value")

_apart: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """Within the block this process works alone, whatever group there is: what it asks for, the others do not."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


class Processes:
    """The processes of torch.distributed's default group, or this one alone: `rank` (0 writes files) of `count`. alone: this
    one, whatever group there is, as within `apart`."""

    def __init__(self, device: torch.device, alone: bool = False):
        alone = alone or _apart.get()
        self.together = not alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.rank, self.count = (dist.get_rank(), dist.get_world_size()) if self.together else (0, 1)
        self.device = device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def check(self, smallest_batch: int) -> None:
        """EscrimeError where a batch of this size cannot be divided."""
        if smallest_batch < self.count:
            raise EscrimeError(
                f"batches of {smallest_batch} images cannot be divided among {self.count} processes; "
                "use a larger batch_size or fewer processes."
            )

    def part(self, rows: np.ndarray) -> np.ndarray:
        """This process's part of a batch: every image is in exactly one."""
        return rows[self.rank :: self.count]

    def weight(self, rows: np.ndarray) -> float:
        """What the mean over this part counts in the mean of all processes; 1 where the parts are equal."""
        return len(self.part(rows)) * self.count / len(rows)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the mean over the processes in place of each gradient."""
        if not self.together:
            return
        # Autograd leaves None where the loss did not reach; it may have in another process, whose part is different. Where it
        # did in none, None stays: weight decay and momentum would move a parameter whose gradient is zero.
        counts = self.total([parameter.grad is not None for parameter in parameters])
        reached = [parameter for parameter, count in zip(parameters, counts, strict=True) if count]
        for parameter in reached:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.average([parameter.grad for parameter in reached if parameter.grad is not None])

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over the processes in place of each floating-point tensor, one exchange per type."""
        if not self.together:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            dist.all_reduce(flat)
            flat /= self.count
            for tensor, mean in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(mean.view(tensor.shape))

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over the processes of each number."""
        if not self.together:
            return list(values)
        sums = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()

    @torch.no_grad()
    def same_weights(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        if self.together:
            for tensor in model.state_dict().values():
                value = tensor.detach().contiguous()
                dist.broadcast(value, 0)
                tensor.copy_(value)

    def broadcast(self, value: Value) -> Value:
        """The first process's `value`, which may be any picklable object."""
        if not self.together:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def all_of(self, value: Value) -> list[Value]:
        """Every process's `value`, which may be any picklable object, in the order of their ranks."""
        values = [value] * self.count
        if self.together:
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.together:
            dist.barrier()

    def agree(self, value: object, what: str) -> None:
        """EscrimeError in every process where theirs differ from the first one's."""
        values = self.all_of(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise EscrimeError(
                    f"process {rank} has {what} {other!r} where process 0 has {values[0]!r}; all of them must read the same "
                    "data and the same checkpoint folder, on several machines from a disk that they share."
                )
