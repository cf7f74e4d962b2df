"""How a model is named on the command line, and what can be refused of it before torch is imported."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from .errors import EscrimeError, nearest
from .regular_files import check_regular, expanded, is_regular, most_weights, read_text, reason

SPECS = {
    "torchvision:NAME[@WEIGHTS]": "a torchvision classifier with its published weights, or those of a file",
    "timm:NAME[@FILE]": "a model of timm with its published weights, or those of a file",
    "hf:ORG/NAME": "an image classifier of the Hugging Face hub, or of a local folder; CLIP and its kin too",
    "ARCH@FILE": "an architecture of `escrime list` with weights in a .safetensors, .pt or .pth file",
    "FILE.py:FUNCTION": "a function of yours that returns a torch module, or any callable (a black box)",
    "FILE.pt2": "a program saved by torch.export, which is code: it needs --trust",
    "FILE.onnx": "an ONNX file (a black box: its scores or labels)",
}
TORCHVISION, TIMM, HUGGING_FACE = "torchvision", "timm", "hf"
FUNCTION, PROGRAM, ONNX, WEIGHTS = "function", "program", "onnx", "weights"


WHERE_WEIGHTS = "give 'torchvision', a URL, or a .safetensors, .pt or .pth file"
FORMS = 'write one name a line, or JSON such as ["cat", "dog"] or {"0": "cat", "1": "dog"}'  # of a file of class names


@dataclass(frozen=True)
class Specification:
    """kind: one of the constants above. name: of the architecture, the hub's model (with what follows it), or the function.
    file: as it was written, "" where there is none."""

    kind: str
    name: str = ""
    file: str = ""


def parsed(text: str, architectures: Collection[str]) -> Specification:
    """The kind of model that a text names. architectures: names that a hint may offer.

    Raises:
        EscrimeError: For a text of no known kind.
    """
    hub, colon, name = text.partition(":")
    if colon and hub in (TORCHVISION, TIMM, HUGGING_FACE):
        return Specification(hub, name)
    if match := re.fullmatch(r"(.+\.py):(\w+)", text):
        return Specification(FUNCTION, match[2], match[1])
    arch, at, file = text.partition("@")
    path = expanded(text)
    if path.suffix in (".pt2", ".onnx"):
        return Specification(PROGRAM if path.suffix == ".pt2" else ONNX, file=text)
    if at and not is_regular(path):
        return Specification(WEIGHTS, arch, file)
    hint = _hint(text, path, architectures)
    raise EscrimeError(f"model {text!r} is of no known kind; write one of {', '.join(SPECS)}.{hint}")


def _hint(text: str, path: Path, architectures: Collection[str]) -> str:
    if path.suffix == ".py":
        return f" Name the function too: {text}:FUNCTION."
    if path.suffix in (".safetensors", ".pt", ".pth"):
        return f" Weights need their architecture: ARCH@{text}."
    if text in architectures:
        return f" For published weights write torchvision:{text}, for your own {text}@FILE."
    return nearest(text, architectures)


def check_specification(text: str, architectures: Collection[str]) -> None:
    """Refuse an unknown kind, an unknown architecture, and a file that is not there."""
    spec = parsed(text, architectures)
    if (spec.kind == WEIGHTS and not spec.file) or not (spec.name or spec.file):
        raise EscrimeError(f"model {text!r} breaks off; write {'ARCH@FILE' if spec.kind == WEIGHTS else text + 'NAME'}.")
    if spec.kind in (FUNCTION, PROGRAM, ONNX):
        check_model_file(expanded(spec.file))
    elif spec.kind == WEIGHTS:
        check_architecture(spec.name, architectures)
        check_weights(spec.file)
    elif spec.kind in (TORCHVISION, TIMM):
        name, _, wanted = spec.name.partition("@")
        if spec.kind == TORCHVISION:
            check_architecture(name, architectures)
        if wanted and (spec.kind == TIMM or names_a_file(wanted)):
            check_weights(wanted)


def names_a_file(wanted: str) -> bool:
    """Whether what stands behind torchvision:NAME@ is a file: torchvision's own names of weights have neither . nor /."""
    return bool(Path(wanted).suffix or "/" in wanted)


def check_architecture(name: str, architectures: Collection[str]) -> None:
    """Refuse a name that is neither in `architectures` nor torchvision's nor timm's to know."""
    others = of_torchvision()
    if others and name not in architectures and name not in others and not name.startswith(f"{TIMM}:"):
        raise unknown_architecture(name, architectures, others)


def unknown_architecture(name: str, architectures: Iterable[str], others: Iterable[str]) -> EscrimeError:
    """Of a name that is not among escrime's `architectures` nor the `others` of torchvision."""
    hint = nearest(name, architectures) or nearest(name, others)
    return EscrimeError(
        f"architecture {name!r} is unknown; use one of {', '.join(architectures)}, another torchvision classifier, "
        f"or {TIMM}:NAME.{hint}"
    )


@cache
def of_torchvision() -> frozenset[str]:
    """Names of torchvision's models of images, read from its files, since to import it takes seconds; none where they are
    written in another way."""
    found = find_spec("torchvision")
    files = Path(found.origin).parent.glob("models/*.py") if found and found.origin else ()
    makes = re.compile(r"^@register_model\((?:name=[\"'](\w+)[\"'])?\)\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in files]
    return frozenset(match[1] or match[2] for text in texts for match in makes.finditer(text))


def check_weights(text: str) -> None:
    """Refuse a file of weights that is not there; a URL and "torchvision" are looked at when they are read."""
    if text and text.partition(":")[0] != TORCHVISION and not re.match(r"[a-z][a-z0-9+.-]+://", text):
        check_weights_file(expanded(text), text, WHERE_WEIGHTS)


def check_weights_file(path: Path, origin: object, remedy: str) -> None:
    """Refuse what is no regular file, or larger than weights that this machine can read."""
    try:
        check_regular(path, most_weights())
    except (FileNotFoundError, NotADirectoryError):
        raise EscrimeError(f"weights file {origin} does not exist; {remedy}.") from None
    except IsADirectoryError:
        raise EscrimeError(f"weights file {origin} is a folder; {remedy}.") from None
    except OSError as error:
        raise EscrimeError(f"weights file {origin} cannot be read: {reason(error)}; {remedy}.") from None


def check_model_file(path: Path) -> Path:
    """`path`, if there is such a file, and of a size that a model has."""
    try:
        check_regular(path, most_weights())
    except (FileNotFoundError, NotADirectoryError):
        raise EscrimeError(f"model file {path} does not exist; check the path.") from None
    except OSError as error:
        raise EscrimeError(f"model file {path} cannot be read: {reason(error)}; give the file that was saved.") from None
    return path


def text_of_classes(path: Path | str) -> str:
    """The content of a file of class names."""
    return read_text(expanded(path), "the file of class names", FORMS)
