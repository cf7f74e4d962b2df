"""`escrime attack`: photos in, pictures out that the model gets wrong when it reads them from disk."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ...budgets import LEVELS
from ...data import floats
from ...data.classes import check_names, places_of
from ...data.decode import read_image
from ...data.listing import check_text, images_in, no_images, warn_of_ignored
from ...errors import EscrimeError, nearest
from ...files import flush, locked, whole, write_whole
from ...models import Loaded, load_model
from ...models.loading.loaded import with_names
from ...models.running import Classifier, check_logits, failure_named
from ...regular_files import IMAGE, check_regular, expanded, is_folder, is_regular, reason
from ...report.figures.photo import draw_photo
from ...results.layout import check_file
from ...results.reading import first_fault, read_text
from ...validation import check_whole
from ..evaluate.candidate import OF_ITS_SIZE
from .quantized import PhotoSearch, check_chosen, fool, logits_of, predict, smallest, whole_eps

LINES = "attacks.jsonl"
ENDINGS = ("-adversarial.png", "-side-by-side.png")  # of the two files of a photo
LONGEST_STEM = 200  # bytes; file systems stop at 255


@dataclass(frozen=True)
class Result:
    """One photo, by its absolute path: what the model predicts for it, and for the PNG as read back from disk; eps in gray
    levels of 255 (null where nothing worked)."""

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


LINE = TypeAdapter(Result)


def attack_photos(
    photos: Sequence[str | Path],
    spec: str,
    out: Path | str,
    *,
    eps: float | None = None,
    target: str | None = None,
    size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    trust: bool = False,
    attacks: tuple[str, ...] = (),
    classes: str | None = None,
) -> Iterator[Result]:
    """Attack each photo (files, or folders of them) and yield what came of it, after its files are written.

    The photo is read as the model sees it: its shorter side resized to the model's size (or `size`), the center cropped; the
    PNG has that size. eps: a fraction of the color range, rounded down to whole gray levels; None looks for the fewest.
    target: the name or number of the class to reach. mean, std, trust, classes: as in load_model. attacks: names of those to
    try in turn, () for the usual ones.
    What earlier calls left in `out` stays, but a photo attacked again replaces its own.

    Raises:
        EscrimeError: For a photo or a model that cannot be read, for an unknown target, and for a file in `out` that is not
            escrime's and would be overwritten, before anything is written.
    """
    out, paths = Path(out), list(dict.fromkeys(Path(os.path.abspath(path)) for path in _files(photos)))
    check_text(out)
    size = None if size is None else check_whole("size", size, of="pixels", hint="or leave it out")
    loaded = load_model(spec, mean, std, trust=trust, size=size, classes=classes)
    model = loaded.model.to(device) if isinstance(loaded.model, torch.nn.Module) else loaded.model
    check_chosen(attacks, loaded.answers, target is not None)
    levels = None if eps is None else whole_eps(eps)
    images = [read_image(path, loaded.side(size)) for path in paths]
    count = _count(model, floats(images[0][None], device), spec)
    check_names(loaded.classes, count, spec)
    loaded = with_names(loaded, count)
    wanted = None if target is None else _class(target, loaded, count)
    _names(paths, _lines(out / LINES), out)  # refuses files of others before anything is written
    search = PhotoSearch(model, loaded.answers, wanted, seed, attacks)
    with locked(out, "give another folder with --out"):
        yield from _Folder(out, search, levels, loaded.classes, device).attack(paths, images)


@dataclass
class _Folder:
    """The folder `out` while photos are attacked into it. levels: the ε in gray levels, None for the smallest that works."""

    out: Path
    search: PhotoSearch
    levels: int | None
    classes: tuple[str, ...] | None
    device: torch.device | str

    def attack(self, paths: list[Path], images: list[np.ndarray]) -> Iterator[Result]:
        """Attack the photos `paths`, decoded as `images` uint8 (3, H, W), one after another."""
        self.lines = _lines(self.out / LINES)
        for path, pixels, name in zip(paths, images, _names(paths, self.lines, self.out), strict=True):
            before = self.lines.get(str(path))
            result = self._attacked(path, pixels, name)
            if before and result.adversarial is None:  # its pictures of before belong to no line any more
                for picture in _pictures(before):
                    (self.out / picture).unlink(missing_ok=True)
            yield result

    def _noted(self, result: Result) -> Result:
        """`result`, which attacks.jsonl now has."""
        self.lines[result.photo] = result
        text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in self.lines.values())
        write_whole(self.out / LINES, text, follow=False)
        return result

    def _title(self, label: int) -> str:
        return self.classes[label] if self.classes else str(label)

    def _attacked(self, path: Path, pixels: np.ndarray, name: str) -> Result:
        search, image = self.search, floats(pixels[None], self.device)
        before, sure = predict(search.model, image)
        target = None if search.target is None else self._title(search.target)

        def result(after: int, how_sure: float, files: tuple[Path, Path] | None = None, levels: int | None = None) -> Result:
            adversarial, side_by_side = (None, None) if files is None else map(str, files)
            eps, fooled = None if levels is None else levels / LEVELS, files is not None and search.reached(after, before)
            predictions = (self._title(before), sure, self._title(after), how_sure)
            return Result(str(path), adversarial, side_by_side, fooled, levels, eps, target, *predictions)

        if search.target == before:
            return self._noted(result(before, sure))
        # `path.stem`, not `name`: what else is attacked must not change an image's noise.
        if self.levels is None:
            found = smallest(search, image, before, path.stem)
        else:
            found = fool(search, image, before, self.levels, path.stem)
        png, picture = (self.out / file for file in _files_of(name))
        with whole(png, follow=False) as new_png, whole(picture, follow=False) as new_picture:
            written = (found.image[0] * LEVELS).round().byte().cpu().numpy().transpose(1, 2, 0)
            Image.fromarray(written).save(new_png, format="PNG")
            # What counts is what the model predicts for the file.
            again = floats(read_image(new_png, pixels.shape[-1])[None], self.device)
            after, how_sure = predict(search.model, again)
            far = int((again - image).abs().max() * LEVELS + 0.5)
            original, adversarial = (shown.cpu().numpy()[0] for shown in (image, again))
            classes = (self._title(before), sure), (self._title(after), how_sure)
            draw_photo(new_picture, original, adversarial, *classes, f"{far}/255")
            for file in (new_png, new_picture):
                flush(file)  # a full disk is known before the line tells of the files
            # Before the files take their names: killed here, the next call knows whose they are.
            return self._noted(result(after, how_sure, (png, picture), far))


def _count(model: Classifier, image: Tensor, spec: str) -> int:
    """The number of classes. Raises EscrimeError for a model that cannot take the image."""
    side = image.shape[-1]
    with failure_named(f"{spec} fails on an image of 3 × {side} × {side} in [0, 1]", OF_ITS_SIZE):
        return check_logits(logits_of(model, image), image).shape[1]


def _files(photos: Sequence[str | Path]) -> Iterator[Path]:
    for photo in map(Path, photos):
        photo = expanded(photo)
        check_text(photo)
        if is_folder(photo):
            ignored: dict[str, str] = {}
            inside = sorted(images_in(photo, photo, ignored))
            ignored |= {name: "a link to nothing, or no file" for name in inside if not is_regular(photo / name)}
            inside = [name for name in inside if name not in ignored]
            if not inside:
                raise EscrimeError(f"the folder {no_images(photo, ignored)}; give photos, or their folder.")
            warn_of_ignored(photo, ignored)
            yield from (photo / name for name in inside)
        else:
            try:
                check_regular(photo, IMAGE)
            except FileNotFoundError:
                raise EscrimeError(f"the photo {photo} does not exist; check the path.") from None
            except OSError as error:
                raise EscrimeError(f"the photo {photo} cannot be opened: {reason(error)}; check the path.") from None
            yield photo


def _lines(path: Path) -> dict[str, Result]:
    """What earlier calls wrote, by photo. Raises EscrimeError for a file that is not theirs."""
    try:
        lines = read_text(path).split("\n") if os.path.lexists(path) else []
        found = [LINE.validate_json(line, strict=True) for line in lines if line]
        for name in (name for result in found for name in _pictures(result)):
            if not name.endswith(ENDINGS):
                raise ValueError(f"{name!r} is no name of a picture that an attack writes")
    except EscrimeError:
        raise
    except (OSError, ValueError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise EscrimeError(
            f"{path} cannot be read as the list of earlier attacks ({reason}); move it away, or choose "
            "another folder with --out."
        ) from None
    return {os.path.abspath(result.photo): result for result in found}


def _pictures(result: Result) -> list[str]:
    """The names of its files."""
    return [Path(file).name for file in (result.adversarial, result.side_by_side) if file]


def _stem(path: Path) -> str:
    """The name of a photo as far as names made of it, and what they are called while they are written, can be files."""
    return path.stem.encode()[:LONGEST_STEM].decode(errors="ignore")


def _files_of(name: str) -> tuple[str, str]:
    png, picture = (name + ending for ending in ENDINGS)
    return png, picture


def _names(paths: list[Path], lines: dict[str, Result], out: Path) -> list[str]:
    """A name per photo for its files: that of an earlier call, else its own, numbered where another photo has it. Raises
    EscrimeError where such a file exists that no line tells of."""
    ours = {photo: _pictures(result) for photo, result in lines.items()}
    known = {file for files in ours.values() for file in files}
    taken = {file.lower() for file in known}  # A.png and a.png are one file on some systems
    names = []
    for path in paths:
        before = ours.get(str(path))
        name = before[0].removesuffix(ENDINGS[0]) if before else _stem(path)
        number = 1
        while not before and _files_of(name)[0].lower() in taken:
            number += 1
            name = f"{_stem(path)}-{number}"
        taken.add(_files_of(name)[0].lower())
        for file in _files_of(name):
            check_file(out / file)
            if (out / file).exists() and file not in known:
                raise EscrimeError(
                    f"{out / file} exists already and is not of an attack that {out / LINES} tells of; move it away, or choose "
                    "another folder with --out."
                )
        names.append(name)
    return names


def _class(target: str, loaded: Loaded, count: int) -> int:
    """The index of a class by name (any one of its synonyms, whatever the spelling), or by number."""
    if target.isdecimal() and len(target) < 10 and int(target) < count:
        return int(target)
    if places := places_of(loaded.classes or ())(target):
        return places[0]
    named = f"a name such as {', '.join(map(repr, loaded.classes[:3]))} or " if loaded.classes else ""
    raise EscrimeError(
        f"target {target!r} is no class of {loaded.origin}; give {named}a number from 0 to {count - 1}."
        + nearest(target, loaded.classes or ())
    )
