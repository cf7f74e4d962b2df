"""`escrime attack`: photos in, pictures out that the model gets wrong when it reads them from disk."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...budgets import LEVELS
from ...data import floats
from ...data.classes import check_names, places_of
from ...data.decode import read_image, read_photo
from ...data.listing import check_text, images_in, no_images, warn_of_ignored
from ...errors import EscrimeError, nearest
from ...evaluation.progress import Listener, Meter
from ...files import flush, locked, whole, write_whole
from ...models import Loaded, load_model
from ...models.deadline import listening
from ...models.loading.loaded import with_names
from ...models.running import Classifier, check_logits, failure_named
from ...regular_files import IMAGE, check_regular, expanded, is_folder, is_regular, reason
from ...report.figures.photo import draw_photo
from ...training.identity import weights_digest
from ...validation import check_whole
from ..evaluate.candidate import OF_ITS_SIZE
from .folder import DEFAULT, LINES, Result, begin, files_of, folder_of, lines_in, names_of, pictures_of
from .full_size import FullSize
from .quantized import PhotoSearch, check_chosen, fool, logits_of, predict, smallest, whole_eps

ROUGH = 1000  # queries that a photo takes, about; after the first one they are known
LIKELY = 1e-3  # how far a confidence may lie from that of another machine
SMALLEST = "the smallest"  # ε, where none is given
SHOWN = 1000  # pixels of the longer side of a photo in a picture of both


def attack_photos(
    photos: Sequence[str | Path],
    spec: str,
    out: Path | str | None = None,
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
    full_size: bool = False,
    progress: Listener = lambda done, total, note: None,
    say: Callable[[str], None] = lambda text: None,
    begun: Callable[[Path], None] = lambda folder: None,
) -> Iterator[Result]:
    """Attack each photo (files, or folders of them) and yield what came of it, after its files are written.

    The photo is read as the model sees it: its shorter side resized to the model's size (or `size`), the center cropped; the
    PNG has that size, or with `full_size` that of the photo. eps: a fraction of the color range, rounded down to whole gray
    levels; None looks for the fewest. target: the name or number of the class to reach. mean, std, trust, classes: as in
    load_model. attacks: names of those to try in turn, () for the usual ones. progress: called with (queries, queries in all,
    about, which photo it is). out: None for adversarial/, or a numbered folder beside it where that one was made with other
    settings, of which `say` is told. begun: told of the folder before anything is written there.
    What earlier calls left in the folder stays. What they made of the same photo is asked of the model again, and yielded as it
    is where it holds; otherwise the photo is attacked again, and what comes of it replaces its own.

    Raises:
        EscrimeError: For a photo or a model that cannot be read, for an unknown target, for an `out` that holds attacks on
            another model or with other settings, and for a file there that is not escrime's and would be overwritten, before
            anything is written.
    """
    paths = list(dict.fromkeys(Path(os.path.abspath(path)) for path in _files(photos)))
    chosen = None if out is None else Path(out)
    check_text(chosen or DEFAULT)
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
    question = {
        "model": spec,
        "weights": weights_digest(model) if isinstance(model, torch.nn.Module) else None,
        "access": loaded.answers,
        "eps": SMALLEST if levels is None else f"{levels}/{LEVELS}",
        "target": None if wanted is None else loaded.classes[wanted] if loaded.classes else str(wanted),
        "attacks": list(attacks),
        "size": loaded.side(size),
        "seed": seed,
        "full_size": full_size,
        "mean": mean and list(mean),
        "std": std and list(std),
        "classes": classes,
    }
    folder = folder_of(question, chosen, say)
    names_of(paths, lines_in(folder / LINES), folder)  # refuses files of others before anything is written
    search = PhotoSearch(model, loaded.answers, wanted, seed, attacks)
    with locked(folder, "give another folder with --out"):
        begun(folder)
        begin(folder, question, str(device))
        yield from _Folder(folder, search, levels, loaded.classes, device, full_size, progress).attack(paths, images)


@dataclass
class _Folder:
    """The folder `out` while photos are attacked into it. levels: the ε in gray levels, None for the smallest that works.
    full_size: whether a PNG has the size of its photo."""

    out: Path
    search: PhotoSearch
    levels: int | None
    classes: tuple[str, ...] | None
    device: torch.device | str
    full_size: bool
    progress: Listener
    lines: dict[str, Result] = field(default_factory=dict)

    def attack(self, paths: list[Path], images: list[np.ndarray]) -> Iterator[Result]:
        """Attack the photos `paths`, decoded as `images` uint8 (3, H, W), one after another."""
        self.lines, note = lines_in(self.out / LINES), ""
        meter = Meter(lambda done, total, _: self.progress(done, total, note))
        meter.plan("photos", len(paths), ROUGH)
        names = names_of(paths, self.lines, self.out)
        for number, (path, pixels, name) in enumerate(zip(paths, images, names, strict=True), 1):
            before, note = self.lines.get(str(path)), f"{path.name}, {number} of {len(paths)}"
            if before is not None and self._holds(before, path, pixels):
                meter.plan("photos", len(paths) - number, meter.tasks["photos"].passes)
                yield before
                continue
            meter.begin("photos", 1)
            with listening(meter):
                result = self._attacked(path, pixels, name)
            if before and result.adversarial is None:  # its pictures of before belong to no line any more
                for picture in pictures_of(before):
                    (self.out / picture).unlink(missing_ok=True)
            yield result
        meter.finish()

    def _digest(self, path: Path, png: Path | None) -> str:
        """Of the photo, and of the PNG that came of it."""
        content = [sha256(file.read_bytes()).hexdigest() for file in (path, png) if file is not None]
        return sha256(repr(content).encode()).hexdigest()

    def _holds(self, line: Result, path: Path, pixels: np.ndarray) -> bool:
        """Whether the same was done to the photo before, and the model still says of both what the line says."""
        png = None if line.adversarial is None else self.out / Path(line.adversarial).name
        for file in pictures_of(line):
            if not is_regular(self.out / file):
                return False
        if line.digest != self._digest(path, png):
            return False
        now = predict(self.search.model, floats(pixels[None], self.device))
        same = self._said(now, line.before, line.before_confidence)
        if png is None or not same:
            return same
        now = predict(self.search.model, floats(read_image(png, pixels.shape[-1])[None], self.device))
        return self._said(now, line.after, line.after_confidence)

    def _said(self, now: tuple[int, float], name: str, confidence: float) -> bool:
        return self._title(now[0]) == name and abs(now[1] - confidence) < LIKELY

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

        def result(after: int, how_sure: float) -> Result:
            said = (self._title(before), sure, self._title(after), how_sure)
            return Result(str(path), None, None, False, None, None, target, *said, digest=self._digest(path, None))

        if search.target == before:
            return self._noted(result(before, sure))
        photo = FullSize(read_photo(path), pixels.shape[-1]) if self.full_size else None
        if photo is not None:
            search = replace(search, climbed=photo.through(search.model, self.device), as_read=photo.as_read)
        # `path.stem`, not `name`: what else is attacked must not change an image's noise.
        if self.levels is None:
            found = smallest(search, image, before, path.stem)
        else:
            found = fool(search, image, before, self.levels, path.stem)
        levels = ((found.image - image)[0] * LEVELS).round().int().cpu().numpy()
        square = pixels.transpose(1, 2, 0)
        original = square if photo is None else photo.pixels
        written = (square + levels.transpose(1, 2, 0)).astype(np.uint8) if photo is None else photo.changed(levels)
        png, picture = (self.out / file for file in files_of(name))
        with whole(png, follow=False) as new_png, whole(picture, follow=False) as new_picture:
            Image.fromarray(written).save(new_png, format="PNG")
            # What counts is what the file holds, and what the model predicts for it.
            after, how_sure = predict(search.model, floats(read_image(new_png, pixels.shape[-1])[None], self.device))
            far = int(np.abs(np.asarray(read_photo(new_png), np.int16) - original).max())
            classes = (self._title(before), sure), (self._title(after), how_sure)
            draw_photo(new_picture, _to_show(original), _to_show(written), *classes, f"{far}/255")
            for file in (new_png, new_picture):
                flush(file)  # a full disk is known before the line tells of the files
            made = replace(
                result(after, how_sure),
                adversarial=str(png),
                side_by_side=str(picture),
                fooled=search.reached(after, before) and far <= found.levels,
                levels=far,
                eps=far / LEVELS,
                width=written.shape[1],
                height=written.shape[0],
                digest=self._digest(path, new_png),
            )
            # Before the files take their names: killed here, the next call knows whose they are.
            return self._noted(made)


def _to_show(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3) as (3, H, W) in [0, 1], with every so manieth pixel where it has too many for a picture."""
    step = -(-max(image.shape) // SHOWN)
    return image[::step, ::step].transpose(2, 0, 1) / np.float32(LEVELS)


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
