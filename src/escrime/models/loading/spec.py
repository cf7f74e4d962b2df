"""The kinds of specification, and which one a text is."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import EscrimeError, nearest
from ...regular_files import expanded, is_regular
from ..architectures import ARCHITECTURES
from ..normalized import Values
from .class_names import with_classes
from .exported import from_onnx, from_program
from .files import from_function, from_weights
from .hubs import from_hugging_face, from_timm, from_torchvision
from .loaded import Loaded
from .normalizing import check_normalization, renormalized
from .zero_shot import with_prompts

SPECS = {
    "torchvision:NAME[@WEIGHTS]": "a torchvision classifier with its published weights, or those of a file",
    "timm:NAME[@FILE]": "a model of timm with its published weights, or those of a file",
    "hf:ORG/NAME": "an image classifier of the Hugging Face hub, or of a local folder; CLIP and its kin too",
    "ARCH@FILE": "an architecture of `escrime list` with weights in a .safetensors, .pt or .pth file",
    "FILE.py:FUNCTION": "a function of yours that returns a torch module, or any callable (a black box)",
    "FILE.pt2": "a program saved by torch.export, which is code: it needs --trust",
    "FILE.onnx": "an ONNX file (a black box: its scores or labels)",
}
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


def _load(spec: str, trust: bool, size: int | None) -> Loaded:
    hub, colon, name = spec.partition(":")
    if colon and hub in HUBS:
        return HUBS[hub](name)
    if match := re.fullmatch(r"(.+\.py):(\w+)", spec):
        return from_function(expanded(match[1]), match[2], size)
    arch, at, file = spec.partition("@")
    if at and not is_regular(expanded(spec)):
        return from_weights(arch, file)
    path = expanded(spec)
    if path.suffix == ".pt2":
        return from_program(path, trust, size)
    if path.suffix == ".onnx":
        return from_onnx(path, size)
    raise EscrimeError(f"model {spec!r} is of no known kind; write one of {', '.join(SPECS)}.{_hint(spec, path)}")


def _hint(spec: str, path: Path) -> str:
    if path.suffix == ".py":
        return f" Name the function too: {spec}:FUNCTION."
    if path.suffix in (".safetensors", ".pt", ".pth"):
        return f" Weights need their architecture: ARCH@{spec}."
    if spec in ARCHITECTURES:
        return f" For published weights write torchvision:{spec}, for your own {spec}@FILE."
    return nearest(spec, ARCHITECTURES)
