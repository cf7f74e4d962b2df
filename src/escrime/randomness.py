"""Randomness drawn per image: the same image gets the same noise in any batch, order, process or resumed run.

A generator is keyed by what the number is for (seed, image id, attack, restart, step, ...), never by how many numbers
were drawn before. A randomized module (a defense that adds noise) asks `noise_keys(n)` for the keys of its rows; an
attack or an evaluation sets them with `row_keys(...)`. Outside such a block the module uses torch's global generator,
as dropout does.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b

import torch
from torch import Tensor

_keys: ContextVar[Sequence[tuple] | None] = ContextVar("escrime_row_keys", default=None)


def generator(*key, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by the hash of `key`, a sequence of integers, floats and strings."""
    return torch.Generator(device=device).manual_seed(_number(key))


def _number(key: Sequence) -> int:
    """A 63-bit hash of the key's parts."""
    digest = blake2b("\x1f".join(map(repr, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@contextmanager
def row_keys(keys: Sequence[tuple]):
    """Within the block, row i of the batch given to a randomized module draws its noise from `keys[i]`.

    A module that draws from torch's global generators instead gets them seeded from all keys of the batch, and they are
    put back afterwards: its noise is reproducible, and another for every purpose, but depends on the batch.
    """
    keys = list(keys)
    token = _keys.set(keys)
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(_number(keys))
            yield
    finally:
        _keys.reset(token)


def noise_keys(rows: int) -> Sequence[tuple] | None:
    """The keys of the current batch's rows, or None outside `row_keys`."""
    keys = _keys.get()
    if keys is not None and len(keys) != rows:
        raise RuntimeError(f"row_keys holds {len(keys)} keys, but the module was given a batch of {rows} images")
    return keys


def uniform_noise(like: Tensor, samples: int, keys: Sequence[tuple] | None) -> Tensor:
    """Uniform noise in [-1, 1], shape (samples, N, ...) for `like` of shape (N, ...), row n drawn from `keys[n]`."""
    shape = (samples, *like.shape)
    if keys is None:
        return torch.rand(shape, device=like.device, dtype=like.dtype).mul_(2).sub_(1)
    noise = torch.empty(shape, device=like.device, dtype=like.dtype)
    for n, key in enumerate(keys):
        draw = torch.rand(
            (samples, *like.shape[1:]),
            generator=generator(*key, device=like.device),
            device=like.device,
            dtype=like.dtype,
        )
        noise[:, n] = draw
    return noise.mul_(2).sub_(1)
