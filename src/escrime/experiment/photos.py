"""`escrime attack`: photos in, pictures out that the model gets wrong when it reads them from disk."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from ..data import floats
from ..data.classes import places_of, plain
from ..data.decode import EXTENSIONS, read_image
from ..errors import EscrimeError, nearest
from ..files import whole, write_whole
from ..models import Loaded, load_model
from ..report.figures.photo import draw_photo
from .eight_bits import LEVELS, fool, logits_of, predict, reached, smallest, whole_eps

LINES = "attacks.jsonl"


@dataclass(frozen=True)
class Result:
    """One photo: what the model said before, and of the PNG as read back from disk; eps in gray levels of 255 (null where
    nothing worked)."""

    photo: str
    adversarial: str | None
    side_by_side: str | None
    fooled: bool
    levels: int | None
    eps: float | None
    target: str | None
    before: str
    before_confidence: float
    after: str
    after_confidence: float


def attack_photos(
    photos: Sequence[str | Path],
    spec: str,
    out: Path | str,
    *,
    eps: float | None = None,
    target: str | None = None,
    size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Result]:
    """Attack each photo (files, or folders of them) and yield what came of it, after its files are written.

    The photo is read as the model sees it: its shorter side resized to the model's size (or `size`), the center cropped; the
    PNG has that size. eps: a fraction of the color range, rounded down to whole gray levels; None looks for the fewest.
    target: the name or number of the class to reach. Errors: EscrimeError for a photo or a model that cannot be read, and
    for an unknown target, before anything is written.
    """
    loaded = load_model(spec)
    model = loaded.model.to(device) if isinstance(loaded.model, torch.nn.Module) else loaded.model
    levels = None if eps is None else whole_eps(eps)
    if size is not None and size < 1:
        raise EscrimeError(f"size = {size} is no number of pixels; give a whole number above 0, or leave it out.")
    paths, side = list(_files(photos)), size or loaded.size or 224
    images = [read_image(path, side) for path in paths]
    wanted = None if target is None else _class(target, loaded, logits_of(model, floats(images[0][None], device)).shape[1])
    out = Path(out)
    names = _names(paths)
    lines = []
    for path, pixels, name in zip(paths, images, names, strict=True):
        result = _attack(path, pixels, name, model, loaded, levels, wanted, out, seed, device)
        lines.append(json.dumps(asdict(result), ensure_ascii=False))
        write_whole(out / LINES, "\n".join(lines) + "\n")
        yield result


def _attack(path, pixels, name, model, loaded: Loaded, levels, target, out: Path, seed, device) -> Result:
    image = floats(pixels[None], device)
    before, sure = predict(model, image)
    title = lambda label: loaded.classes[label] if loaded.classes else str(label)  # noqa: E731
    about = {"photo": str(path), "target": None if target is None else title(target)}
    about |= {"before": title(before), "before_confidence": sure}
    if target == before:
        about |= {"after": title(before), "after_confidence": sure}
        return Result(adversarial=None, side_by_side=None, fooled=False, levels=None, eps=None, **about)
    search = (model, image, before)
    rest = (target, loaded.answers, seed, path.stem)  # not `name`: what else is attacked must not change an image's noise
    found = smallest(*search, *rest) if levels is None else fool(*search, levels, *rest)
    png, picture = out / f"{name}-adversarial.png", out / f"{name}-side-by-side.png"
    with whole(png) as temporary:
        Image.fromarray((found.image[0] * LEVELS).round().byte().cpu().numpy().transpose(1, 2, 0)).save(temporary, format="PNG")
    # What counts is what the model says of the file.
    again = floats(read_image(png, pixels.shape[-1])[None], device)
    after, how_sure = predict(model, again)
    fooled = reached(after, before, target)
    far = int((again - image).abs().max() * LEVELS + 0.5)
    with whole(picture) as temporary:
        shown = (original.cpu().numpy()[0] for original in (image, again))
        draw_photo(temporary, *shown, (title(before), sure), (title(after), how_sure), f"{far}/255")
    about |= {"after": title(after), "after_confidence": how_sure}
    return Result(adversarial=str(png), side_by_side=str(picture), fooled=fooled, levels=far, eps=far / LEVELS, **about)


def _files(photos: Sequence[str | Path]) -> Iterator[Path]:
    for photo in map(Path, photos):
        photo = photo.expanduser()
        if photo.is_dir():
            inside = sorted(path for path in photo.rglob("*") if path.name.lower().endswith(EXTENSIONS) and path.is_file())
            if not inside:
                raise EscrimeError(
                    f"the folder {photo} holds no images ({', '.join(EXTENSIONS)}); give photos, or their folder."
                )
            yield from inside
        elif photo.is_file():
            yield photo
        else:
            raise EscrimeError(f"the photo {photo} does not exist; check the path.")


def _names(paths: list[Path]) -> list[str]:
    """A name per photo for its files: its own, numbered where several share it."""
    names, seen = [], {}
    for path in paths:
        seen[path.stem] = seen.get(path.stem, 0) + 1
        names.append(path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}")
    return names


def _class(target: str, loaded: Loaded, count: int) -> int:
    """The index of a class by name (any one of its synonyms, whatever the spelling), or by number."""
    if target.isdigit() and int(target) < count:
        return int(target)
    if places := places_of(loaded.classes or ()).get(plain(target)):
        return places[0]
    named = f"a name such as {', '.join(map(repr, loaded.classes[:3]))} or " if loaded.classes else ""
    raise EscrimeError(
        f"target {target!r} is no class of {loaded.origin}; give {named}a number from 0 to {count - 1}."
        + nearest(target, loaded.classes or ())
    )
