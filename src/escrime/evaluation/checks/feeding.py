"""How pixels reach a network's first weights: measured, put in words, and the usual ways to compare it with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...models.architectures import IMAGENET_MEAN, IMAGENET_STD
from ...models.normalized import Normalized
from ...models.running import Classifier
from ...randomness import generator

COLORS = 12  # plain colored images that determine an affine map
EXACT = 1e-3  # how far a measured map may lie from an affine one, or from a known one, relative to the largest value
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
CAFFE = (104.0, 117.0, 123.0)  # the mean color of the first ImageNet networks: blue, green, red on 0–255


@dataclass(frozen=True)
class Preprocessing:
    """x (N, C, H, W) → gain · x[order] + shift, channel by channel."""

    gain: tuple[float, ...]
    shift: tuple[float, ...]
    order: tuple[int, ...]

    def __call__(self, images: Tensor) -> Tensor:
        gain, shift = (images.new_tensor(values).reshape(1, -1, 1, 1) for values in (self.gain, self.shift))
        return images[:, list(self.order)] * gain + shift

    def after(self, first: "Preprocessing") -> "Preprocessing":
        """What `first` and then this make."""
        gain = tuple(g * first.gain[c] for g, c in zip(self.gain, self.order))
        shift = tuple(g * first.shift[c] + s for g, s, c in zip(self.gain, self.shift, self.order))
        return Preprocessing(gain, shift, tuple(first.order[c] for c in self.order))

    def inverse(self) -> "Preprocessing":
        back = tuple(self.order.index(c) for c in range(len(self.order)))
        gain = tuple(1 / self.gain[c] for c in back)
        return Preprocessing(gain, tuple(-self.shift[c] / self.gain[c] for c in back), back)

    def like(self, other: "Preprocessing") -> bool:
        """The same on [0, 1], but for rounding."""
        ends = [
            torch.tensor([preprocessing.shift, tuple(map(sum, zip(preprocessing.gain, preprocessing.shift)))])
            for preprocessing in (self, other)
        ]
        return self.order == other.order and float((ends[0] - ends[1]).abs().max()) <= EXACT * float(ends[1].abs().max())

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(-s / g for g, s in zip(self.gain, self.shift))

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(1 / g for g in self.gain)

    def __str__(self) -> str:
        swapped = ", red and blue swapped" if self.order == (2, 1, 0) else ""
        if all(abs(g - 1) + abs(s) < EXACT for g, s in zip(self.gain, self.shift)):
            return f"pixels in [0, 1]{swapped}"
        return f"mean {numbers(self.mean)}, std {numbers(self.std)}{swapped}"


def numbers(values: tuple[float, ...]) -> str:
    """One number where all are the same; n/255 where that is what is meant. As --mean and --std take them."""
    short = [f"{round(v * 255)}/255" if _is_levels(v) else f"{v:.4g}" if abs(v) > 1e-5 else "0" for v in values]
    return short[0] if len(set(short)) == 1 else ",".join(short)


def _is_levels(value: float) -> bool:
    return abs(value) > 1e-3 and abs(value * 255 - round(value * 255)) < 1e-4 and abs(value * 1000 - round(value * 1000)) > 1e-3


def normalizing(mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    return Preprocessing(tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std)), tuple(range(len(mean))))


def identity(channels: int) -> Preprocessing:
    return normalizing([0.0] * channels, [1.0] * channels)


def swapped(preprocessing: Preprocessing) -> Preprocessing:
    """The same with red and blue exchanged before it."""
    return preprocessing.after(Preprocessing((1.0,) * 3, (0.0,) * 3, (2, 1, 0)))


def usual(channels: int) -> dict[str, Preprocessing]:
    """What networks are commonly fed: name → how pixels in [0, 1] are changed."""
    known = {
        "pixels in [0, 1]": identity(channels),
        "pixels in [−1, 1]": normalizing([0.5] * channels, [0.5] * channels),
        "pixels in 0–255": normalizing([0.0] * channels, [1 / 255] * channels),
    }
    if channels == 3:
        known |= {
            "ImageNet's mean and std": normalizing(IMAGENET_MEAN, IMAGENET_STD),
            "CIFAR-10's mean and std": normalizing(CIFAR_MEAN, CIFAR_STD),
            "BGR in 0–255 minus mean colors": Preprocessing((255.0,) * 3, tuple(-c for c in CAFFE), (2, 1, 0)),
        }
    return known


def measured(model: Classifier, images: Tensor) -> Preprocessing | None:
    """How pixels reach the first layer with weights, from plain colored images of this shape (N, C, H, W), whatever code
    does it; None where that cannot be seen: a plain callable, noise, another number of channels, no affine map."""
    if not isinstance(model, nn.Module):
        return None
    seen: list[Tensor] = []

    def look(module: nn.Module, given: tuple) -> None:
        if not seen and given and isinstance(given[0], Tensor):
            seen.append(given[0].detach())

    weighted = [m for m in model.modules() if any(True for _ in m.parameters(recurse=False))]
    channels = images.shape[1]
    colors = torch.rand(COLORS, channels, generator=generator(0, "colors")).to(images)
    hooks = []
    try:
        hooks = [module.register_forward_pre_hook(look) for module in weighted]
        model(colors[:, :, None, None].expand(-1, -1, *images.shape[2:]).clone())
    except Exception:  # what cannot be asked cannot be measured; that it fails is another check's finding
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return _affine(colors, seen[0], images[0].numel()) if seen else None


def _affine(colors: Tensor, reached: Tensor, flat: int) -> Preprocessing | None:
    """The map from plain colors (N, C) to what reached the weights, one channel from one."""
    n, channels = colors.shape
    if reached.dim() == 2 and reached.shape[1] == flat:
        reached = reached.reshape(n, channels, -1, 1) if len(reached) == n else reached
    if reached.dim() != 4 or tuple(reached.shape[:2]) != (n, channels):
        return None
    values = reached[:, :, reached.shape[2] // 2, reached.shape[3] // 2].double().cpu()
    if not values.isfinite().all():
        return None
    given = torch.cat([colors.double().cpu(), torch.ones(n, 1, dtype=torch.float64)], 1)
    found = torch.linalg.lstsq(given, values).solution
    gains, size = found[:channels].T, float(values.abs().max())
    order = gains.abs().argmax(1)
    own = gains.gather(1, order[:, None])[:, 0]
    others = gains.scatter(1, order[:, None], 0.0).abs().max()
    odd = float((given @ found - values).abs().max()) > EXACT * size or float(others) > EXACT * float(own.abs().max())
    if odd or own.abs().min() < EXACT or sorted(order.tolist()) != list(range(channels)):
        return None
    return Preprocessing(tuple(own.tolist()), tuple(found[channels].tolist()), tuple(order.tolist()))


def replaced(model: Classifier, change: Preprocessing) -> Preprocessing | None:
    """The normalization in front of `model`, or in place of the one it begins with, that has the effect of `change` on its
    images; None where escrime.Normalized cannot have it: channels change places, or a mean outside [0, 1]."""
    old = identity(len(change.gain))
    if isinstance(model, Normalized):
        mean, std = (values.flatten().tolist() * len(change.gain) for values in (model.mean, model.std))
        old = normalizing(mean[: len(change.gain)], std[: len(change.gain)])
    new = old.after(change)
    fits = new.order == tuple(range(len(new.order))) and min(new.std) > 0 and max(map(abs, new.mean)) <= 1 + 1e-6
    return new if fits else None
