"""Weights on disk: safetensors files, written whole or not at all, and loaded without running anything."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ...errors import EscrimeError
from ...files import write_whole
from ...regular_files import expanded
from ...specifications import check_weights_file
from .matching import check_finite, check_fit, overwrite

# The only entry of the file's metadata, which holds ours as JSON: safetensors keeps text alone, and writes several
# entries in an order of its own.
METADATA = "escrime"
LONGEST_NAME = 1000  # characters of a tensor's name
MOST_TENSORS = 50_000  # of a file: large language models have some hundreds, and a header of 100 MB can name a million
PLAIN = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool}
PLAIN |= {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


def save_weights(model: nn.Module, path: str | Path, metadata: dict | None = None) -> Path:
    """Write every parameter and buffer of a model to a safetensors file.

    The file appears complete or not at all; an older file of the same name survives a failed write. The bytes depend
    only on the weights and the metadata.

    Args:
        model: The network.
        path: The file, which is replaced where it exists.
        metadata: What else is to be kept with the weights, JSON values by name.

    Returns:
        The file.

    Raises:
        EscrimeError: If metadata is not JSON or the file cannot be written.
    """
    path = expanded(path)
    try:
        text = json.dumps(metadata or {}, sort_keys=True)
    except TypeError as error:
        raise EscrimeError(f"metadata for {path} cannot be written as JSON: {error}.") from None
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    write_whole(path, save(tensors, metadata={METADATA: text}))
    return path


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Load what `save_weights` wrote. Nothing is loaded unless everything fits.

    Args:
        model: The network, which is changed in place.
        path: A .safetensors file.

    Returns:
        `model`.

    Raises:
        EscrimeError: If the file is missing or damaged, or its names and shapes are not exactly the model's.
    """
    tensors, _ = read_safetensors(path)
    what = f"weights in {path}"
    check_fit({name: tensor.shape for name, tensor in model.state_dict().items()}, tensors, what, "the model")
    check_finite(model, tensors, what)
    overwrite(model, tensors)
    return model


def read_metadata(path: str | Path) -> dict:
    """The metadata of a safetensors file: what `save_weights` was given, or another writer's entries as they stand."""
    with _open(path) as file:
        return _metadata(file, path)


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Name → tensor, and the metadata, of a safetensors file."""
    with _open(path) as file:
        try:
            if (count := len(names := file.keys())) > MOST_TENSORS:
                raise _damaged(path, f"it names {count:,} tensors, more than the {MOST_TENSORS:,} that are read here")
            tensors, metadata = {name: file.get_tensor(name) for name in names}, _metadata(file, path)
        except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:  # of a type that torch has not
            raise _damaged(path, error) from None
    check_plain(tensors, f"weights file {path}")
    return tensors, metadata


def check_plain(tensors: dict[str, Tensor], what: str) -> None:
    """Raise EscrimeError for tensors that no network is loaded from: compressed, sparse, without values."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.dtype not in PLAIN:
            kind = f"{tensor.layout}, {tensor.dtype}, on {tensor.device}".replace("torch.", "")
            raise EscrimeError(f"{what} holds {name} as a tensor of another kind ({kind}); save plain float tensors.")
        if len(name) > LONGEST_NAME:
            raise EscrimeError(f"{what} holds a tensor with a name of {len(name):,} characters; no network calls one so.")


def _open(path: str | Path) -> safe_open:
    path = expanded(path)
    check_weights_file(path, path, "check the path")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _metadata(file: safe_open, path: str | Path) -> dict:
    entries = dict(file.metadata() or {})
    if METADATA not in entries:
        return {name: _decoded(text) if name in ("mean", "std") else text for name, text in entries.items()}
    try:
        content = json.loads(entries[METADATA])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(content, dict):
        raise _damaged(path, f"its metadata is a {type(content).__name__} where an object should be")
    return content


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _damaged(path: str | Path, error: object) -> EscrimeError:
    return EscrimeError(f"weights file {path} is not a complete safetensors file ({error}); fetch or write it again.")
