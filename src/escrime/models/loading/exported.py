"""Programs without their Python code: torch.export's .pt2 archives, which have gradients but may run code as they are read, and
ONNX files, which have none and are data."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import EscrimeError
from ..running import failure_named
from .black_box import black_box
from .fixed_batch import in_batches_of
from .loaded import Loaded, existing, wnids_of


def from_program(path: Path, trust: bool = False) -> Loaded:
    """A program that `torch.export.save` has written: images (N, 3, H, W) in [0, 1] → logits.

    Without `trust` nothing of the file is read: torch.export.load unpickles, evaluates expressions and loads libraries that an
    archive holds, in more ways than can be looked for.
    """
    existing(path)
    if not trust:
        raise EscrimeError(
            f"{path} is a program: torch can run code from a .pt2 file as it reads it, and nothing of it was read. If you "
            "trust whoever made it, add --trust (in Python load_model(..., trust=True)); weights (.safetensors) hold no code."
        )
    _check_archive(path)
    try:
        program = torch.export.load(path)
        shape = next(node.meta["val"].shape for node in reversed(program.graph.nodes) if node.op == "placeholder")
        model = Program(program.module(), shape[0] if isinstance(shape[0], int) else None)
    except Exception as error:
        raise EscrimeError(f"{path} is no program of torch.export ({type(error).__name__}: {error}); save it again.") from None
    side = shape[-1] if len(shape) == 4 and isinstance(shape[-1], int) else None
    square = side or 224
    fails = f"the program in {path} fails on a gray image of 3 × {square} × {square}"
    with failure_named(fails, "export it for one input (N, 3, H, W)"), torch.no_grad():
        logits = model(torch.full((1, 3, square, square), 0.5))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise EscrimeError(f"the program in {path} does not return logits (N, K) for images (N, 3, H, W).")
    return Loaded(model, str(path), None, wnids_of(logits.shape[1]), side)


class Program(nn.Module):
    """An exported program as a classifier; one exported for a single batch size is asked in batches of that size."""

    def __init__(self, program: nn.Module, batch: int | None):
        super().__init__()
        self.program, self.batch = program, batch

    def train(self, mode: bool = True) -> "Program":
        self.training = mode  # an exported program has one mode, and refuses to hear of others
        return self

    def forward(self, images: Tensor) -> Tensor:
        return in_batches_of(self.batch, self.program, images)


def _check_archive(path: Path) -> None:
    """Raise EscrimeError for what torch.export.save has not written, in words that torch has not; safe it makes nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise EscrimeError(f"{path} is damaged or no .pt2 archive ({error}); fetch or save it again.") from None
    if not any(name.endswith("archive_format") for name in names):
        raise EscrimeError(f"{path} was not written by torch.export.save of torch 2.6 or later; save it again.")


def from_onnx(path: Path) -> Loaded:
    """An ONNX file as a black box: its first output is taken for scores (N, K) or labels (N,)."""
    existing(path)
    try:
        import onnxruntime
    except ImportError:
        raise EscrimeError("ONNX files need onnxruntime; install it with: pip install 'escrime[onnx]'.") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:
        raise EscrimeError(f"{path} is no ONNX model that onnxruntime runs ({str(error).splitlines()[0]}).") from None
    wanted, output = session.get_inputs()[0], session.get_outputs()[0].name
    shape = wanted.shape if len(wanted.shape) == 4 else [None, 3, None, None]
    batch, side = (value if isinstance(value, int) else None for value in (shape[0], shape[-1]))
    return black_box(lambda pixels: session.run([output], {wanted.name: pixels})[0], str(path), None, side, batch)
