"""Where pre-trained weights come from: a local file, a URL, or torchvision. Reading them never runs code from them."""

import hashlib
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urldefrag, urlparse

import torch
from torch import Tensor

from ...errors import EscrimeError, shortened
from ...online import OFFLINE, unreachable
from ...regular_files import expanded
from ...specifications import WHERE_WEIGHTS, check_weights_file
from ..architectures import Architecture, published_weights
from .weights import check_plain, read_safetensors

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_AVERAGES = ("model_ema", "state_dict_ema", "ema", "params_ema", "params")
NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", *_AVERAGES)


@dataclass(frozen=True)
class Weights:
    """Tensors by name as a file holds them, its metadata, and where they come from (for messages)."""

    tensors: dict[str, Tensor]
    metadata: dict
    origin: str


def read_weights(source: str | Path, arch: Architecture) -> Weights:
    """Read weights from "torchvision" (or "torchvision:NAME"), an http(s) URL, or a file.

    Files are .safetensors, or .pt/.pth with tensors only. A URL may end in `#sha256=…`, which is then checked; files
    land in torch.hub's cache and are fetched once.

    Raises:
        EscrimeError: For anything missing, unreachable, damaged, of the wrong hash, or that would run code.
    """
    text = str(source)
    if text == "torchvision" or text.startswith("torchvision:"):
        return _from_torchvision(arch, text.partition(":")[2] or None)
    if re.match(r"https?://", text):
        return _from_url(text)
    if re.match(r"[a-z][a-z0-9+.-]+://", text):
        raise EscrimeError(f"weights {text!r} are not at an http(s) URL; download the file and give its path.")
    return _from_file(expanded(text), text)


def _from_file(path: Path, origin: str) -> Weights:
    check_weights_file(path, origin, WHERE_WEIGHTS)
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return Weights(tensors, metadata, origin)
    if path.suffix not in PICKLED:
        raise EscrimeError(f"weights file {origin} ends in {path.suffix!r}; escrime reads .safetensors, .pt and .pth files.")
    _refuse_compressed(path, origin)
    tensors = _tensors(_unpickled(path, origin), origin)
    check_plain(tensors, f"weights file {origin}")
    return Weights(tensors, {}, origin)


def _refuse_compressed(path: Path, origin: str) -> None:
    """A few bytes can be unpacked into as many as one likes."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = next((entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED), None)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return  # of torch before 1.6, or damaged: its reader says so
    if packed is not None:
        raise EscrimeError(f"weights file {origin} is compressed ({packed}), as torch.save leaves none; save it again.")


def _unpickled(path: Path, origin: str) -> Any:
    """The content of a torch file, read by the restricted unpickler that builds tensors and plain containers only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols and TorchScript: the message below says it
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file provokes in the reader
        needed = _globals(path, str(error))
        if needed or (isinstance(error, UnpicklingError) and _starts_like_pickle(path)):
            asks = f"it asks for {', '.join(needed[:3])}, which" if needed else "it holds more than tensors, which"
            raise EscrimeError(
                f"weights file {origin} is an unsafe pickle: {asks} could run code; nothing was run. "
                "Save model.state_dict() alone, or better a .safetensors file."
            ) from None
        raise EscrimeError(
            f"weights file {origin} is damaged or not a torch file of tensors ({type(error).__name__}); "
            "fetch it again, or save model.state_dict()."
        ) from None


def _starts_like_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def _globals(path: Path, message: str) -> list[str]:
    """The functions and classes that the pickle wanted and the restricted unpickler refused."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # files older than torch's zip format cannot be listed; the refusal itself names the first one
        names = []
    return sorted(names) or re.findall(r"GLOBAL (\w+(?:\.\w+)+)", message)


def _tensors(content: object, origin: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint: the content itself, or what it holds under a usual key."""
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = _named(content)
    if not named and isinstance(content, Mapping):
        inside = {str(key): found for key, value in content.items() if (found := _named(value))}
        if len(inside) > 1:
            several = f"weights file {origin} holds several networks ({shortened(inside)})"
            raise EscrimeError(f"{several}; save the state_dict() of the one that is meant alone.")
        named = next(iter(inside.values()), {})
    if not named:
        raise EscrimeError(f"weights file {origin} holds no named tensors; save model.state_dict() in it.")
    if "n_averaged" in named and not named["n_averaged"].dim():  # torch's AveragedModel counts in it
        del named["n_averaged"]
    return named


def _named(content: object) -> dict[str, Tensor]:
    return {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}


def _from_url(source: str) -> Weights:
    url, fragment = urldefrag(source)
    digest = None
    if fragment:
        match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
        if not match:
            raise EscrimeError(f"weights {source!r}: write the checksum as #sha256= and 64 hexadecimal digits.")
        digest = match[1].lower()
    # The name carries the URL's hash: two sites may both serve a file called model.pth.
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{Path(urlparse(url).path).name}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file() or (digest and _sha256(path) != digest):
        _download(url, path, digest)
    try:
        return _from_file(path, url)
    except EscrimeError:
        path.unlink(missing_ok=True)  # a cut-off download must not stand for the URL ever after
        raise


def _download(url: str, path: Path, digest: str | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
    except RuntimeError as error:
        if "hash" not in str(error):
            raise
        raise EscrimeError(
            f"weights from {url} do not have the sha256 {digest}; the file was changed or cut off, and was not kept."
        ) from None
    except Exception as error:  # urllib raises OSError, ValueError and http.client exceptions
        raise EscrimeError(
            f"weights from {url} cannot be downloaded ({error}); fetch the file by hand and give its path."
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_torchvision(arch: Architecture, name: str | None) -> Weights:
    if arch.builder is None:
        raise EscrimeError(f"torchvision has no weights for {arch.name!r}; leave weights out, or give a file or a URL.")
    member = published_weights(arch.builder, name)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(member.url).path).name
    if not cached.is_file() and (reason := unreachable(member.url)):
        raise EscrimeError(
            f"torchvision's weights {member} are not in the cache, and {OFFLINE} ({reason}); connect, or fetch {member.url} "
            f"elsewhere and give its path: {arch.name}@FILE."
        )
    try:
        tensors = member.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True)
    except Exception as error:  # no network, a proxy's page instead of the file, a full disk
        raise EscrimeError(
            f"torchvision's weights {member} cannot be loaded ({error}); fetch {member.url} by hand and give its path."
        ) from None
    # DenseNet's published files use names with a dot that a module cannot have today.
    legacy = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
    tensors = {legacy.sub(r"\1", name): tensor for name, tensor in tensors.items()}
    return Weights(tensors, {}, f"torchvision {member}")
