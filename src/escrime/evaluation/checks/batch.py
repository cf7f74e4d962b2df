"""Does the prediction for an image depend on those beside it? The same images alone and in company, clean and perturbed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from ...models.running import Classifier, check_logits, network_batch, no_trace, passes_per_image
from ...randomness import as_keys, generators_kept, noise_keys, row_keys
from ...results.findings import Finding

ALONE = 8  # images asked alone, of each kind
MOST = 8  # copies of one image for a network that needs company
SAME = {"cpu": 1e-3}  # how far logits may move with the batch, relative to the largest;
SAME_ELSEWHERE = 1e-2  # a GPU rounds differently in another batch
SOME = 0.25  # share of the images whose logits must move,
CHANGED = 2  # or number of them whose prediction must change with that


class Alone(nn.Module):
    """The same classifier, which sees every image by itself: for one whose outputs depend on the batch. A network that cannot
    take one image (it drops a dimension of 1, or takes statistics) sees as many copies of it as it needs, up to MOST."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.asked, self.least = model, 1

    @property
    def copies(self) -> int:
        """Network passes per image."""
        return passes_per_image(self.asked)

    def forward(self, images: Tensor) -> Tensor:
        keys = noise_keys(images)
        if keys is None:
            return torch.cat([self._single(images[row : row + 1]) for row in range(len(images))])
        outputs = []
        with generators_kept():  # once, not for every image
            for row in range(len(images)):
                with row_keys(keys[row : row + 1]):
                    outputs.append(self._single(images[row : row + 1]))
        return torch.cat(outputs)

    def _single(self, image: Tensor) -> Tensor:
        while True:
            batch = image.repeat(self.least, 1, 1, 1)
            try:
                return check_logits(self.asked(batch), batch)[:1]
            except Exception:  # whatever a model raises that was made for batches
                if self.least >= MOST:
                    raise
                self.least *= 2


@dataclass(frozen=True)
class BatchEffect:
    """What company does to the logits of images. images: how many were asked alone. affected: the largest number of them that
    moved, of one kind of batch. kind: which batch that was. largest: by how much, relative to the largest logit. cause: what
    in the batch the model looks at, "" where nothing moves enough."""

    images: int
    affected: int
    kind: str
    largest: float
    cause: str

    @property
    def dependent(self) -> bool:
        return bool(self.cause)


@torch.no_grad()
def batch_effect(model: Classifier, images: Tensor, step: float, seed: int = 0) -> BatchEffect:
    """Compare `model` alone with a batch of `images` (N, C, H, W) in [0, 1], as many as are scored at a time: clean, moved by
    4 · step per pixel, beside copies that resemble them, and in another order. About 4 N + 2 · ALONE passes."""
    images = images[: max(2, network_batch(images) // passes_per_image(model))]
    n, tolerance = len(images), SAME.get(images.device.type, SAME_ELSEWHERE)
    if n < 2:
        return BatchEffect(0, 0, "", 0.0, "")
    keys = as_keys([(seed, "batch", row) for row in range(n)])
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)).to(images.device)
    moved = (images + 4 * step * (2 * noise - 1).sign()).clamp(0, 1)
    near = (images + step * (2 * noise - 1)).clamp(0, 1)
    rows = torch.arange(n) if n <= ALONE else torch.linspace(0, n - 1, ALONE).round().long()
    order = torch.arange(n).flip(0)

    def logits(pixels: Tensor, drawn: Tensor) -> Tensor:
        with row_keys(drawn):
            return check_logits(model(pixels.clone()), pixels)

    alone = Alone(model)

    @cache
    def single(pixels: Tensor) -> Tensor:
        with row_keys(keys[rows]):
            return alone(pixels[rows])

    with no_trace(model, images.device):
        company = {
            "clean": (images, lambda x: logits(x, keys)[rows]),
            "in another order": (images, lambda x: logits(x[order], keys[order])[order.argsort()][rows]),
            "beside its like": (images, lambda x: logits(*_beside(x, near, keys, rows))[: len(rows)]),
            "perturbed": (moved, lambda x: logits(x, keys)[rows]),
        }
        found: list[tuple[str, Tensor, Tensor]] = []
        for kind, (pixels, ask) in company.items():
            try:
                found.append((kind, *_differences(ask(pixels), single(pixels))))
            except Exception:  # a model may refuse such a batch; what it predicts for the others counts
                continue
        if not found:
            return BatchEffect(0, 0, "", 0.0, "")
        kind, change, _ = max(found, key=lambda row: int((row[1] > tolerance).sum()))
        affected = int((change > tolerance).sum())
        turned = max(int((other & (change > 10 * tolerance)).sum()) for _, change, other in found)
        largest = max(float(change.max()) for _, change, _ in found)
        fires = affected >= max(1, SOME * len(rows)) or turned >= min(CHANGED, len(rows))
        cause = _cause(model, logits, moved if kind == "perturbed" else images, near, keys, tolerance) if fires else ""
    return BatchEffect(len(rows), affected, kind, largest, cause)


def _differences(together: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
    """How far (N,) logits moved, relative to the largest, and whether (N,) the prediction did."""
    size = apart.abs().amax(1).clamp_min(1e-6)
    change = ((together - apart).abs().amax(1) / size).nan_to_num(float("inf"))
    return change.cpu(), (together.argmax(1) != apart.argmax(1)).cpu()


def _beside(images: Tensor, near: Tensor, keys: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """A batch of the images `rows`, then others, then what resembles them; as many as there are images, about."""
    rest = images[: max(0, len(images) - 2 * len(rows))]
    return torch.cat([images[rows], rest, near[rows]]), torch.cat([keys[rows], keys[: len(rest)], keys[rows]])


def _cause(model: Classifier, logits: Callable, images: Tensor, near: Tensor, keys: Tensor, tolerance: float) -> str:
    """What in a batch moves an output, by changing one thing at a time around the last image."""
    own = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] if isinstance(model, nn.Module) else []
    if any(m.training or m.running_mean is None for m in own):
        return "BatchNorm that uses the statistics of the batch"
    n = len(images)
    mates, last, other = images[:-1], images[-1:], 1 - images.flip(3)  # other: unlike any of them

    def output(batch: Tensor, at: int = -1) -> Tensor | None:
        try:
            return logits(batch, keys[torch.arange(len(batch)) % n])[at][None]
        except Exception:  # not every model takes every batch
            return None

    def differ(one: Tensor | None, two: Tensor | None) -> bool:
        return one is not None and two is not None and bool(_differences(one, two)[0] > tolerance)

    def changed(row: int) -> Tensor:
        batch = images.clone()
        batch[row] = other[row]
        return batch

    whole = output(images)
    first, middle = differ(output(changed(0)), whole), n > 2 and differ(output(changed(n // 2)), whole)
    if first and not middle:
        return "the first image of the batch"
    if not middle and differ(output(torch.cat([mates[1:], near[-1:], last])), output(torch.cat([mates[1:], other[:1], last]))):
        return "images of the batch that resemble it"
    if middle or differ(output(torch.cat([other[:-1], last])), whole):
        return "the other images of the batch, such as their mean"
    if differ(output(torch.cat([last, mates]), 0), whole):
        return "its place in the batch"
    few = next((whole for size in range(1, n) if (whole := output(images[-size:])) is not None), None)
    size = next((size for size in range(2, n + 1) if differ(output(images[-size:]), few)), None)
    return "the number of images in the batch" + ("" if size is None else f" (from {size} on)")


def batch_finding(effect: BatchEffect) -> list[Finding]:
    """What `batch_effect` found, as a finding."""
    if not effect.images:
        return []
    evidence = {
        "images": effect.images,
        "affected": effect.affected,
        "largest relative change": round(effect.largest, 6),
        "batch": effect.kind,
        "cause": effect.cause,
    }
    if not effect.dependent:
        message = f"Logits do not depend on the other images of a batch ({effect.images} images, clean and perturbed)"
        return [Finding("batch-dependent", "passed", message, evidence)]
    return [
        Finding(
            "batch-dependent",
            "alarm",
            f"The logits of {effect.affected} of {effect.images} images depend on the other images in their batch (by up to "
            f"{effect.largest:.2g} of the largest logit): the model looks at {effect.cause}. Every image was attacked and "
            "judged alone, and that number stands",
            evidence,
            "Look for BatchNorm that uses the batch's statistics, or a normalization over the batch, and fix its statistics.",
        )
    ]
