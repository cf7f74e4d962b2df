"""Random numbers of an epoch, one row per image: row i depends on (seed, image id, epoch, purpose) and nothing else.

The image's key comes from `escrime.randomness.generator`; an epoch mixes it with the purpose of the number, for all
images at once, so that a step costs no hashing.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..randomness import generator


def image_keys(seed: int, ids: Sequence[str]) -> np.ndarray:
    """One 64-bit key per image, shape (N,)."""
    return np.array([generator("training", seed, name).initial_seed() for name in ids], dtype=np.uint64)


class EpochNoise:
    """The draws of epoch `epoch` for images with keys `keys` (N,). `rows` below are positions in `keys`."""

    def __init__(self, keys: np.ndarray, epoch: int):
        self.keys, self.epoch = keys, epoch
        self._mixed: dict[str, np.ndarray] = {}

    def _bits(self, purpose: str, rows: np.ndarray) -> np.ndarray:
        if purpose not in self._mixed:
            salt = np.uint64(generator("training", self.epoch, purpose).initial_seed())
            self._mixed[purpose] = _mix(self.keys ^ salt)
        return self._mixed[purpose][rows]

    def fractions(self, purpose: str, rows: np.ndarray) -> np.ndarray:
        """Uniform in [0, 1), float64, shape (len(rows),)."""
        return (self._bits(purpose, rows) >> np.uint64(11)) * 2.0**-53

    def noise(self, purpose: str, rows: np.ndarray, like: Tensor) -> Tensor:
        """Uniform in [-1, 1), shape, type, device and memory format of `like` (len(rows), C, H, W)."""
        noise = torch.empty(like.shape, dtype=like.dtype, device=like.device)  # contiguous: the same in any format
        source = torch.Generator(device=like.device)
        for row, bits in zip(noise, self._bits(purpose, rows).tolist()):
            row.uniform_(-1, 1, generator=source.manual_seed(bits >> 1))
        return torch.empty_like(like).copy_(noise)


def _mix(bits: np.ndarray) -> np.ndarray:
    """The splitmix64 finalizer (Steele, Lea and Flood, 2014): nearby inputs give unrelated outputs."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
