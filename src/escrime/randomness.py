"""Randomness drawn per image: the same image gets the same noise in any batch, order, process or resumed run.

A number is keyed by what it is for (seed, image id, attack, restart, step, ...), never by how many numbers were drawn
before. A key is a 63-bit integer, the hash of those parts; `derive` makes keys from keys, for all rows of a batch at
once. A randomized module (a defense that adds noise) asks `noise_keys(images)` for the keys of its rows; an attack or an
evaluation sets them with `row_keys(...)`. Outside such a block the module uses torch's global generator, as dropout does.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

_keys: ContextVar[Tensor | None] = ContextVar("escrime_row_keys", default=None)
_given: ContextVar[int] = ContextVar("escrime_row_keys_given", default=0)  # keys given to parts of the batch, so far
_idle: ContextVar[bool] = ContextVar("escrime_generators_idle", default=False)


def key(*parts: Any) -> int:
    """The 63-bit key of `parts`, a sequence of integers, floats and strings; a number of numpy or torch counts as Python's."""
    plain = (part.item() if getattr(part, "ndim", None) == 0 else part for part in parts)
    return _number("\x1f".join(map(repr, plain)).encode())


def generator(*parts: Any, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by the key of `parts`."""
    return torch.Generator(device=device).manual_seed(key(*parts))


def as_keys(keys: Tensor | Sequence[tuple]) -> Tensor:
    """Keys as an int64 tensor (N,), from such a tensor or from the parts of each key."""
    return keys if isinstance(keys, Tensor) else torch.tensor([key(*parts) for parts in keys], dtype=torch.int64)


def derive(keys: Tensor, number: int | Tensor) -> Tensor:
    """Other keys, by hashing a number into each.

    Args:
        keys: int64 (N,).
        number: What for, an integer or int64 (N,).

    Returns:
        int64 (N,), unrelated to the keys and to those of other numbers.
    """
    return _mix(keys + _mix(torch.as_tensor(number, dtype=torch.int64))) & 0x7FFFFFFFFFFFFFFF


def fractions(keys: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1): cheap for a few numbers per row.

    Args:
        keys: int64 (N,).
        count: Numbers per row.

    Returns:
        float32 (N, count), on the device of the keys.
    """
    bits = _mix(keys[:, None] + torch.arange(1, count + 1, device=keys.device) * _GOLDEN)
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


_GOLDEN = -0x61C8864680B583EB  # 2⁶⁴ / golden ratio, as a signed integer


def _mix(bits: Tensor) -> Tensor:
    """The splitmix64 finalizer (Steele, Lea and Flood, 2014): nearby inputs give unrelated outputs; int64 wraps around."""
    bits = (bits ^ ((bits >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    bits = (bits ^ ((bits >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return bits ^ ((bits >> 31) & 0x1FFFFFFFF)


def _number(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") >> 1


@contextmanager
def row_keys(keys: Tensor | Sequence[tuple]) -> Iterator[None]:
    """Within the block, row i of the batch given to a randomized module draws its noise from `keys[i]`.

    A module that draws from a global generator instead (torch's, numpy's or Python's) gets it seeded from all keys of the
    batch, and it is put back afterwards: its noise is reproducible, and another for every purpose, but depends on the batch.

    Args:
        keys: int64 (N,), or the parts of each key.
    """
    keys = as_keys(keys)
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), generators_kept():
        tokens = _keys.set(keys), _idle.set(False), _given.set(0)
        try:
            seed_all_generators(_number(keys.cpu().numpy().tobytes()), devices)
            yield
        finally:
            _keys.reset(tokens[0])
            _idle.reset(tokens[1])
            _given.reset(tokens[2])


@contextmanager
def copied_keys(copies: int, keys: Tensor | None = None) -> Iterator[None]:
    """Within the block, a module that gives another one its batch `copies` times, the whole batch again and again, gives
    it keys as well: one for each copy of each row. Outside `row_keys` nothing happens.

    Args:
        copies: How often.
        keys: Those that `noise_keys` gave the module, (N,); None for those of `row_keys`.
    """
    keys = _keys.get() if keys is None else keys
    tokens = _keys.set(None if keys is None else _copied(keys, copies)), _given.set(0)
    try:
        yield
    finally:
        _keys.reset(tokens[0])
        _given.reset(tokens[1])


def _copied(keys: Tensor, copies: int) -> Tensor:
    """Keys for the whole batch `copies` times over. From -1 downwards: small numbers are taken where the same keys are used
    for other purposes."""
    return derive(keys.repeat(copies), -1 - torch.arange(copies, device=keys.device).repeat_interleave(len(keys)))


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put numpy's and Python's global generators back after the block; nothing that draws from them is in the midst of it.

    So a `row_keys` directly within need not: reading and writing numpy's state at every forward pass would take longer than
    a small network.
    """
    if _idle.get():
        yield
        return
    token = _idle.set(True)
    try:
        with states_kept():
            yield
    finally:
        _idle.reset(token)


@contextmanager
def states_kept() -> Iterator[None]:
    """Put numpy's and Python's global generators back after the block, whoever draws from them."""
    before = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def seed_generators(number: int, devices: Sequence[int] = ()) -> None:
    """Seed torch's global generator of the CPU and of the CUDA `devices`; for within a block that puts them back.

    Not torch.manual_seed: it seeds every accelerator, which nobody would put back, and formats a stack trace for each that
    was not started yet, ten times the cost of the rest.
    """
    torch.default_generator.manual_seed(number)
    for device in devices:
        torch.cuda.default_generators[device].manual_seed(number)


def seed_all_generators(number: int, devices: Sequence[int] = ()) -> None:
    """`seed_generators`, and numpy's and Python's global generators; for within a block that puts all of them back."""
    seed_generators(number, devices)
    np.random.seed(number & 0xFFFFFFFF)
    random.seed(number)


def noise_keys(images: Tensor | int) -> Tensor | None:
    """The keys of the batch that a module was given.

    Where what is around the module has changed the batch, they are made from its N keys. A multiple (crops, flips): one for
    each copy of each row, whichever way the copies lie (without the images: the batch again and again). Parts that make up
    the batch, one after another: each row its own. Any other number: the keys of the batch from its start, again and again;
    there an image's noise depends on its place.

    Args:
        images: The batch, (M, ...), or M.

    Returns:
        int64 (M,); None outside `row_keys`.
    """
    keys, rows = _keys.get(), images if isinstance(images, int) else len(images)
    if keys is None or rows == len(keys):
        return keys
    if rows < len(keys):
        start = _given.get() if _given.get() + rows <= len(keys) else 0
        _given.set(start + rows)
        return keys[start : start + rows]
    if not len(keys):
        raise RuntimeError(f"row_keys holds no key, but the module was given a batch of {rows} images")
    copies = -(-rows // len(keys))
    made = _copied(keys, copies)
    if rows % len(keys) == 0 and not isinstance(images, int) and _neighbors(images, copies):
        return made.unflatten(0, (copies, -1)).T.flatten()
    return made[:rows]


def _neighbors(images: Tensor, copies: int) -> bool:
    """Whether the copies of an image lie beside each other (a, a, b, b), not a batch apart (a, b, a, b). Crops and flips of an
    image are more like it than other images are, in mean and spread of each channel."""
    values = images.detach().flatten(2).float() if images.dim() > 2 else images.detach().float()[..., None]
    looks = torch.cat([values.mean(2), values.std(2, correction=0)], dim=1)
    beside = looks.unflatten(0, (-1, copies)).var(1, correction=0).sum()
    apart = looks.unflatten(0, (copies, -1)).var(0, correction=0).sum()
    return bool(beside < apart)


def uniform_noise(like: Tensor, samples: int, keys: Tensor | None) -> Tensor:
    """Uniform noise in [-1, 1].

    Args:
        like: (N, ...), whose shape, device and type the noise has.
        samples: Noise tensors for each row.
        keys: Row n is drawn from keys[n], int64 (N,); None for torch's global generator.

    Returns:
        (samples, N, ...).
    """
    shape = (samples, *like.shape)
    if keys is None:
        return torch.rand(shape, device=like.device, dtype=like.dtype).mul_(2).sub_(1)
    noise = torch.empty(shape, device=like.device, dtype=like.dtype)
    source = torch.Generator(device=like.device)
    one = (samples, *like.shape[1:])
    for n, number in enumerate(keys.tolist()):
        noise[:, n] = torch.rand(one, generator=source.manual_seed(number), device=like.device, dtype=like.dtype)
    return noise.mul_(2).sub_(1)
