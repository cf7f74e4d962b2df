"""Models from files: weights for an architecture, and a function of the user's own."""

import sys
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from torch import Tensor, nn

from ...errors import EscrimeError, nearest
from ...specifications import check_model_file
from ...validation import is_whole
from ..architectures import architecture, head_names, skeleton
from ..registry import build, stored_normalization
from .black_box import black_box
from .class_names import own_names
from .loaded import Loaded, normalization, wnids_of
from .matching import align
from .sources import read_weights


def from_weights(name: str, file: str) -> Loaded:
    """`name` with the weights in `file`; how many classes they have is read from their output layer, and the normalization
    where the file says it, else it is that of the architecture."""
    arch = architecture(name)
    weights = read_weights(file, arch)
    shapes, wanted = skeleton(arch, 10), head_names(arch, 10)
    named, bundled = align(weights.tensors, shapes)
    heads = [t for at, t in named.items() if at in wanted and t.dim() and t.shape[1:] == shapes[at][1:]]
    if not heads:
        raise EscrimeError(f"weights from {file} hold no output layer of {name}; give a whole classifier of that architecture.")
    count = max(heads, key=Tensor.dim).shape[0]  # of one that has as many rows of weights in the file
    model = build(name, count, weights=file)
    classes = weights.metadata.get("classes")
    known = classes if isinstance(classes, list) and len(classes) == count else None
    size = _side(weights.metadata.get("size"))
    wnids = weights.metadata.get("wnids")
    ids = tuple(map(str, wnids)) if isinstance(wnids, list) and len(wnids) == count else None if known else wnids_of(count)
    source = "the file" if bundled or stored_normalization(weights) else arch.library
    return Loaded(
        model,
        f"{name}@{file}",
        tuple(map(str, known)) if known else None,
        ids,
        size or arch.size,
        normalization=normalization(model, source),
    )


class _AsWritten(SourceFileLoader):
    """Compiles the file as it is now: stored bytecode is of another state where both were written within one second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def from_function(path: Path, name: str, side: int | None = None) -> Loaded:
    """What the function `name` of the Python file returns: a module, or any other callable, which is a black box.

    What it returns may have `classes` (names) and `size` (pixels) as attributes. side: pixels of the images that a black box
    without a size is asked about.
    """
    folder = str(path.parent.resolve())
    called = f"escrime_model_{path.stem}_{sha256(folder.encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(called, check_model_file(path), loader=_AsWritten(called, str(path)))
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = module_from_spec(spec)
    sys.path.insert(0, folder)  # its own imports, as when it is run
    sys.modules[spec.name] = module  # where a dataclass looks for the types that it names
    try:
        spec.loader.exec_module(module)
        make = getattr(module, name, None)
        if not callable(make):
            names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise EscrimeError(f"{path} has no function {name!r}; it has {', '.join(names) or 'none'}.{nearest(name, names)}")
        model = make()
    except EscrimeError:
        raise
    except Exception as error:
        raise EscrimeError(f"{path}:{name} failed ({type(error).__name__}: {error}); run it in Python to see where.") from error
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # for what is imported when the model runs; what is installed comes first
    if not callable(model):
        raise EscrimeError(
            f"{path}:{name} returned a {type(model).__name__}; return a torch.nn.Module, or a callable that maps images to "
            "scores or labels."
        )
    classes, size = own_names(getattr(model, "classes", None)), _side(getattr(model, "size", None))
    if isinstance(model, nn.Module):
        empty = [key for key, value in [*model.named_parameters(), *model.named_buffers()] if value.device.type == "meta"]
        if empty:
            raise EscrimeError(
                f"{path}:{name} returned a model with weights that are on no device ('meta'), such as {empty[0]}; load their "
                "values before returning it."
            )
        model = model.cpu()
        model.eval()  # a statement of its own: a `train` that people write themselves may return nothing
        return Loaded(model, f"{path}:{name}", classes, None, size)
    return black_box(model, f"{path}:{name}", classes, size, side=side)


def _side(size: object) -> int | None:
    """The edge length of a square image, from a number or a pair; None for anything else."""
    if isinstance(size, (list, tuple)) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    return int(size) if is_whole(size) and int(size) > 0 else None
