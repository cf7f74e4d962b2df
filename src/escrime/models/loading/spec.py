"""The model that a specification names, whatever kind it is of."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...regular_files import expanded
from ...specifications import FUNCTION, PROGRAM, WEIGHTS, parsed
from ..architectures import ARCHITECTURES
from ..normalized import Values
from .class_names import with_classes
from .exported import from_onnx, from_program
from .files import from_function, from_weights
from .hubs import from_hugging_face, from_timm, from_torchvision
from .loaded import Loaded
from .normalizing import check_normalization, renormalized
from .zero_shot import with_prompts

HUBS: dict[str, Callable[[str], Loaded]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hf": from_hugging_face,
}


def load_model(
    spec: str,
    mean: Values | None = None,
    std: Values | None = None,
    *,
    trust: bool = False,
    size: int | None = None,
    classes: Path | str | Sequence[str] | None = None,
    prompted: Callable[[], Sequence[str] | None] = lambda: None,
) -> Loaded:
    """The model that `spec` names.

    Only FILE.py runs code, yours, and FILE.pt2 may, which is why it is read with `trust` alone.

    Args:
        spec: One of the kinds in `escrime.models.SPECS`, such as "torchvision:resnet50" or "mine.py:load".
        mean: With `std`, the normalization of its images, one number or one per channel on the [0, 1] scale, in place of the
            escrime.Normalized that it begins with or in front of it.
        std: See `mean`; both or neither.
        trust: Whether a FILE.pt2 may run what it holds.
        size: Pixels of the square side of the images that it is to be asked about, in place of its own.
        classes: What its classes are called, in order: the names, or a file of them (see `class_names.read_classes`), in place
            of its own.
        prompted: Names the classes of a zero-shot model, which has none of its own, where `classes` does not.

    Returns:
        What was loaded, with the classifier as `model`, on the CPU in eval mode, taking raw pixels in [0, 1].

    Raises:
        EscrimeError: For a text of no known kind, a file that is missing, damaged or would run code, a library that is not
            installed (with the line that installs it), a normalization that is none, another size than the only one it takes.
    """
    check_normalization(mean, std)
    loaded = with_prompts(with_classes(_load(str(spec), trust, size), classes), prompted)
    loaded.side(size)  # refuses another than the only one
    return renormalized(loaded, mean, std)


def _load(text: str, trust: bool, size: int | None) -> Loaded:
    spec = parsed(text, ARCHITECTURES)
    if spec.kind in HUBS:
        return HUBS[spec.kind](spec.name)
    if spec.kind == FUNCTION:
        return from_function(expanded(spec.file), spec.name, size)
    if spec.kind == WEIGHTS:
        return from_weights(spec.name, spec.file)
    return from_program(expanded(spec.file), trust, size) if spec.kind == PROGRAM else from_onnx(expanded(spec.file), size)
