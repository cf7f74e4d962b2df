"""Do changes of a few kinds find more than changes of any kind? A model may tell an attack by what only an attack does, such as
color in a gray image or light in a border that is always black, and answer otherwise there.

Every attack in a ball moves all it can, so none of them stays where such a model answers as it does without attack.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ...attacks.pgd import PGD
from ...models.fast.twin import Twin
from ...models.running import Classifier
from ...randomness import generator
from ...results.findings import Finding
from ..cost import CONFINED_STEPS
from ..profile import Profile
from .registry import attack_check
from .search import Attempt, Search, notable

SAME = 1 / 255  # a pixel that varies by less from image to image is the same in all
COARSE = 4  # pixels of a side that change alike

Change = Callable[[Tensor], Tensor]  # a gradient (N, C, H, W) → what is followed of it


class Followed(nn.Module):
    """The logits (N, K) of a model, whose gradient is changed before it is followed."""

    def __init__(self, model: Classifier, change: Change) -> None:
        super().__init__()
        self.model, self.change = model, change

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images = images.clone()
            images.register_hook(self.change)
        return self.model(images)


def changes(images: Tensor, seed: int) -> Iterator[tuple[str, Change]]:
    """(which changes are allowed, what is followed of a gradient) of the kinds that mean something for `images`."""
    spread = images.amax(0, keepdim=True) - images.amin(0, keepdim=True)
    varies = (spread > SAME).any(1, keepdim=True)
    if images.shape[1] > 1:
        yield "the same in all channels", lambda gradient: gradient.mean(1, keepdim=True).expand_as(gradient)
    if len(images) > 1 and 0 < int(varies.sum()) < varies.numel():
        yield "only of pixels that vary from image to image", lambda gradient: gradient * varies
    if min(images.shape[-2:]) >= 2 * COARSE:

        def smooth(gradient: Tensor) -> Tensor:
            blocks = avg_pool2d(gradient, COARSE, ceil_mode=True, count_include_pad=False)
            return interpolate(blocks, scale_factor=COARSE)[..., : gradient.shape[-2], : gradient.shape[-1]]

        yield f"the same in blocks of {COARSE} × {COARSE} pixels", smooth
    half = torch.rand(images.shape[-2:], generator=generator(seed, "half of the pixels")).to(images.device) < 0.5
    yield "only of half of the pixels, drawn at random", lambda gradient: gradient * half


@attack_check(5)
def confined(search: Search, profile: Profile) -> list[Finding]:
    """Attack what still stands by changes of one kind each, a randomized model by its expectation; [] where there is no
    gradient to follow, or pixels are counted."""
    geometry, n = search.geometry, len(search.left)
    if profile.blind or geometry.grain or geometry.rendered or not search.left.any():
        return []
    pgd = PGD(search.eps, steps=min(search.effort.steps, CONFINED_STEPS), norm=search.norm, loss="margin", random_start=False)
    if search.randomized:
        pgd = replace(pgd, eot=search.effort.eot, early_stop=search.effort.eot > 1)
    before, gains = search.accuracy, dict[str, float]()
    for kind, change in changes(search.images, search.seed):
        trial = search.run(Attempt(f"changes {kind}", "confined", pgd, Twin(Followed(search.surrogate.model, change))))
        if not trial.failure:
            gains[kind] = trial.gain
    if not gains:
        return []
    gain, best = before - search.accuracy, max(gains, key=lambda kind: gains[kind])
    evidence = {"images": n, "eps": search.eps, "before": round(before, 4), "after": round(search.accuracy, 4)}
    if not notable(gain, n):
        return [
            Finding("confined", "passed", f"Changes of a few kinds find no more than those of any kind ({n} images)", evidence)
        ]
    return [
        Finding(
            "confined",
            "alarm",
            f"Changes {best} take {gains[best]:.1%} more of {n} images than attacks that change whatever they may: the model "
            "tells those by what else they change",
            evidence,
            "Look for a detector, or a second model behind a condition; an attack that knows the condition leaves less still.",
        )
    ]
