"""What a model does close to the images: is it random there, does it look at its input at all, does it treat 8-bit images
otherwise than others, and does it predict otherwise when somebody differentiates?

Clean images alone would not show it: noise, or a way out, may wait off the 8-bit grid, where attacks ask and clean images never
lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ...attacks.adaptive.bpda import inner_tables
from ...attacks.adaptive.surrogate import Surrogate, eight_bit
from ...attacks.core.gradients import loss_gradient
from ...models.running import Batches, Classifier, check_logits, differentiable, no_trace, passes_per_image
from ...randomness import as_keys, derive, row_keys, uniform_noise
from ...results.findings import Finding

SAME = 1e-4  # of the largest logit: what two equal predictions may differ by
JITTER = 0.3 / 255  # moves an image off the 8-bit grid, nearest to which it stays
LEAPS = 0.25  # of the margin's size: what such a jitter must not change,
SOME = 0.2  # on this share of the images
FIRST = 10  # number of the first draw of noise
ASKED = 16  # images asked with gradients on and off
WAYS, HALVINGS, REPEATS = 8, 10, 6  # images on their way to each other, and how often is asked where the prediction changes
BOUNDARY = "points where the prediction changes"


@dataclass(frozen=True)
class Neighborhood:
    """randomized: repeated forwards disagree, at `places`. ignores: the predictions are those of no image. mode: they change
    while gradients are on or asked for, or the weights frozen. off_grid: the share of images whose margin leaps when they leave
    the 8-bit grid."""

    randomized: bool = False
    places: tuple[str, ...] = ()
    ignores: bool = False
    mode: bool = False
    off_grid: float = 0.0


def look_around(model: Classifier, images: Tensor, reach: float, seed: int) -> Neighborhood:
    """Ask `model` about `images` (N, C, H, W) and points around them, `reach` away per pixel. About 13 passes per image, and 17
    more of the first WAYS."""
    keys = as_keys([(seed, "neighborhood", row) for row in range(len(images))])
    corner = (images + reach * uniform_noise(images, 1, derive(keys, 1))[0].sign()).clamp(0, 1)
    within = (images + reach * uniform_noise(images, 1, derive(keys, 2))[0]).clamp(0, 1)
    asked = _Queried(model, keys)
    with torch.no_grad(), no_trace(model, images.device):
        points = {"the images": images, "corners of the ε-ball": corner, "points inside it": within}
        noisy = tuple(name for name, x in points.items() if _disagrees(asked, x, 4 if name == "the images" else 2))
        if not noisy:  # noise that labels hide shows only where they change
            few = _Queried(model, keys[:WAYS])
            noisy = (BOUNDARY,) if _disagrees(few, _beside_another(few, images[:WAYS]), REPEATS) else ()
        ignores = _ignores(asked, images, [corner, within], keys)
        leaps = _off_grid(asked, [images, corner], keys) if not noisy and not ignores else 0.0
    mode = isinstance(model, nn.Module) and not ignores and _mode(model, images[:ASKED], keys[:ASKED])
    return Neighborhood(bool(noisy), noisy, ignores, mode, leaps if leaps >= SOME else 0.0)


class _Queried:
    """The model's logits (N, K) for images, the noise of each row drawn from its key; nothing is asked twice."""

    def __init__(self, model: Classifier, keys: Tensor) -> None:
        self.model, self.keys = model, keys
        self.known: list[tuple[Tensor, int, Tensor]] = []

    def __call__(self, images: Tensor, number: int) -> Tensor:
        for pixels, drawn, logits in self.known:
            if drawn == number and (pixels is images or torch.equal(pixels, images)):
                return logits
        self.known.append((images, number, self.once(images, number)))
        return self.known[-1][2]

    def once(self, images: Tensor, number: int) -> Tensor:
        """The same of images that nobody asks about again."""
        keys = derive(self.keys, number)

        def part(rows: slice) -> Tensor:
            with row_keys(keys[rows]):
                return check_logits(self.model(images[rows].clone()), images[rows])  # it may write into what it is given

        return torch.cat(Batches.of(images, passes_per_image(self.model)).map(part, len(images)))


def _disagrees(asked: _Queried, x: Tensor, repeats: int) -> bool:
    """Whether repeated forwards disagree. All images are asked: a model may be noisy on a few in a hundred only."""
    first = asked(x, FIRST)
    return any(not _same(first, asked(x, FIRST + repeat)) for repeat in range(1, repeats))


def _beside_another(asked: _Queried, images: Tensor) -> Tensor:
    """On the way from each image to the next one of another prediction, the point where the prediction changes, (N, C, H, W);
    the image itself where all are of one."""
    own = asked(images, FIRST).argmax(1)
    place = torch.arange(len(images), device=images.device)
    ahead = (own[None] != own[:, None]) * ((place[:, None] - place[None]) % len(images))  # the larger, the sooner
    other = torch.where(ahead.amax(1) > 0, ahead.argmax(1), place)
    low, high = torch.zeros(len(images), device=images.device), torch.ones(len(images), device=images.device)
    point = images
    for number in range(HALVINGS):
        middle = (low + high) / 2
        point = images + middle.reshape(-1, 1, 1, 1) * (images[other] - images)
        stays = asked.once(point, FIRST + REPEATS + number).argmax(1) == own
        low, high = torch.where(stays, middle, low), torch.where(stays, high, middle)
    return point


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether logits are the same to the last bit, NaN where the others are NaN."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _ignores(asked: _Queried, images: Tensor, near: list[Tensor], keys: Tensor) -> bool:
    """Whether entirely different images, under the same noise, get the same logits to the last bit, and nothing inside leads
    from an image to the logits. No attack is run on such a model, so what merely saturates (one class, whatever the images
    here) must not pass. One more pass per image of a model that looks; of one that does not ten, and a few gradients."""
    first = asked(images, FIRST)
    if not all(torch.equal(first, asked(other, FIRST)) for other in chain(_unlike(images, keys), near)):
        return False
    model, x, few = asked.model, images[:ASKED], keys[:ASKED]
    return not isinstance(model, nn.Module) or not (_leads(model, x, few) or _weighs(model, x, few))


def _unlike(images: Tensor, keys: Tensor) -> Iterator[Tensor]:
    """Images as unlike these as can be: others in their place, none, their negatives, noise, shuffled pixels, plain colors."""
    noise = (uniform_noise(images, 1, derive(keys, 3))[0] + 1) / 2
    yield images.roll(1, 0)
    yield torch.zeros_like(images)
    yield 1 - images
    yield noise
    yield noise.round()
    yield torch.ones_like(images)
    yield images.flip(2, 3)
    yield images.flatten(2)[..., noise[0, 0].flatten().argsort()].view_as(images)
    yield noise[..., :1, :1].expand_as(images)
    yield (images - images.mean((2, 3), keepdim=True)).sign().add(1).div(2)


def _leads(model: nn.Module, x: Tensor, keys: Tensor) -> bool:
    """Whether the logits change with the image where saturating and hidden functions are gone straight through."""
    ways: tuple[dict[str, Any], ...] = ({"through": True}, {"whole": True, "unsaturated": True})
    with differentiable(), torch.enable_grad():
        for surrogate in (Surrogate(model, **way) for way in ways):
            loss = lambda z: (z * torch.arange(1.0, z.shape[1] + 1, device=z.device)).sum(1)  # noqa: E731  not constant for shares
            try:
                gradient = loss_gradient(surrogate, x, loss, keys)[2]
            except Exception:  # nobody knows, so it is attacked
                return True
            if not bool((gradient == 0).all()):
                return True
    return False


def _weighs(model: nn.Module, x: Tensor, keys: Tensor) -> bool:
    """Whether numbers for the classes somewhere inside change with the image: scores of which code outside torch makes one
    constant."""
    tables = []
    try:
        for pixels in (x, 1 - x):
            with row_keys(keys):
                logits, found = inner_tables(model, pixels)
            tables.append([table for _, table in found if table.shape == logits.shape])
    except Exception:  # nobody knows, so it is attacked
        return True
    return len(tables[0]) != len(tables[1]) or not all(map(torch.equal, *tables))


def _off_grid(asked: _Queried, points: list[Tensor], keys: Tensor) -> float:
    """The share of images whose margin leaps between an 8-bit image and one that rounds to it, or changes from one of `points`
    to the other on the grid only: off it such a model may hold one output per image."""
    leaps, on_grid, off_grid, first = [], [], [], None
    for number, x in enumerate(points):
        on = eight_bit(x)
        off = (on + JITTER * uniform_noise(x, 1, derive(keys, 30 + number))[0]).clamp(0, 1)
        one, other = asked(on, FIRST), asked(off, FIRST)
        first = one.argmax(1, keepdim=True) if first is None else first
        margins = [z.gather(1, first)[:, 0] - z.scatter(1, first, float("-inf")).amax(1) for z in (one, other)]
        size = margins[0].abs().clamp_min(0.05 * one.abs().amax(1))
        leaps.append(float(((margins[1] - margins[0]).abs() > LEAPS * size).float().mean()))
        on_grid.append(margins[0])
        off_grid.append(margins[1])
    moved = (on_grid[1] - on_grid[0]).abs() > SAME * size
    stayed = (off_grid[1] - off_grid[0]).abs() <= SAME / 100 * size
    return max(*leaps, float((moved & stayed).float().mean()))


def _mode(model: nn.Module, x: Tensor, keys: Tensor) -> bool:
    """Whether the logits change with gradients on, when the input requires one, or when the weights do as they did when the
    model was given, and no longer while it is attacked; of a model that returns other logits for the same images anyway (noise
    of its own) nobody can know."""
    outputs, weights = [], [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        with no_trace(model, x.device), differentiable():
            ways = (
                (False, False, False),
                (True, False, False),
                (True, True, False),
                (False, False, True),
                (False, False, False),
            )
            for on, asks, free in ways:
                for parameter in weights:
                    parameter.requires_grad_(free)
                with torch.set_grad_enabled(on), row_keys(keys):
                    given = x.detach().clone().requires_grad_() if asks else x.detach().clone()
                    outputs.append(check_logits(model(given.clone() if asks else given), given).detach())
    except Exception:  # the measurement of gradients reports what fails
        return False
    size = outputs[0].abs().amax().clamp_min(1e-6)
    *others, again = (bool((other - outputs[0]).abs().amax() > SAME * size) for other in outputs[1:])
    return any(others) and not again


def neighborhood_findings(around: Neighborhood, images: int) -> list[Finding]:
    """What was seen around the images, but for the noise, which `randomized` reports."""
    found = []
    if around.ignores:
        message = "The model does not look at its input: entirely different images get the same logits, so nothing can fool it"
        found.append(Finding("input-ignored", "note", message, {"images": images}))
    if around.mode:
        message = (
            "The logits change while gradients are on, or the weights are frozen: who attacks is shown another function than "
            "who asks"
        )
        remedy = "Look for is_grad_enabled or requires_grad in the model; the adaptive attack here is told that they are off."
        found.append(Finding("gradient-mode", "alarm", message, {"images": min(images, ASKED)}, remedy))
    if around.off_grid:
        message = f"Off the 8-bit grid the margin leaps for {around.off_grid:.0%} of the images: files are treated otherwise"
        remedy = "Attack with 8-bit images, as the adaptive attack here does: those are what a file holds."
        found.append(Finding("off-grid", "alarm", message, {"images": images, "share": round(around.off_grid, 4)}, remedy))
    return found
