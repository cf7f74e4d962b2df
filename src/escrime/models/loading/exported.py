"""Programs without their Python code: torch.export's .pt2 archives, which have gradients but may run code as they are read, and
ONNX files, which have none and are data."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import EscrimeError, needs_extra
from ...specifications import check_model_file
from ..running import failure_named
from .black_box import black_box
from .fixed_batch import in_batches_of
from .loaded import USUAL_SIDE, Loaded, wnids_of

PRECISIONS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}  # of an ONNX input


def from_program(path: Path, trust: bool = False, wanted: int | None = None) -> Loaded:
    """A program that `torch.export.save` has written: images (N, 3, H, W) in [0, 1] → logits.

    Without `trust` nothing of the file is read: torch.export.load unpickles, evaluates expressions and loads libraries that an
    archive holds, in more ways than can be looked for. wanted: pixels of its images where it takes any.
    """
    check_model_file(path)
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
    square = side or wanted or USUAL_SIDE
    fails = f"the program in {path} fails on a gray image of 3 × {square} × {square}"
    with failure_named(fails, "export it for one input (N, 3, H, W)"), torch.no_grad():
        logits = model(torch.full((1, 3, square, square), 0.5))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise EscrimeError(f"the program in {path} does not return logits (N, K) for images (N, 3, H, W).")
    return Loaded(model, str(path), None, wnids_of(logits.shape[1]), side, fixed=side is not None)


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


def from_onnx(path: Path, wanted: int | None = None) -> Loaded:
    """An ONNX file as a black box: its first output is taken for scores (N, K) or labels (N,). wanted: pixels of its images
    where it takes any."""
    check_model_file(path)
    try:
        import onnxruntime
    except ImportError:
        raise needs_extra("ONNX files", "onnxruntime", "onnx") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    except Exception as error:
        raise EscrimeError(f"{path} is no ONNX model that onnxruntime runs ({str(error).splitlines()[0]}).") from None
    images, output = session.get_inputs()[0], session.get_outputs()[0].name
    batch, channels, *sides = _whole(images.shape) if len(images.shape) == 4 else (None,) * 4
    side = sides[0] or sides[1]
    if channels not in (None, 3) or (None not in sides and sides[0] != sides[1]):
        layout = " × ".join("?" if length is None else str(length) for length in (batch, channels, *sides))
        last = sides[1] == 3 and channels != 3
        raise EscrimeError(
            f"{path} takes images of {layout}, and escrime gives N × 3 × H × W with H = W; "
            + ("the channels are last in it: export it with channels first." if last else "export it again for such images.")
        )
    if images.type not in PRECISIONS:
        raise EscrimeError(f"{path} takes images as {images.type}; export it for floating-point images from 0 to 1.")

    def ask(pixels: np.ndarray) -> np.ndarray:
        found = session.run([output], {images.name: pixels.astype(PRECISIONS[images.type], copy=False)})[0]
        return found.astype(np.float32) if found.dtype.kind == "f" else found

    return black_box(ask, str(path), None, side, batch, side=wanted, fixed=side is not None)


def _whole(shape: list) -> list[int | None]:
    """The lengths that a file fixes; None for a free one."""
    return [length if isinstance(length, int) and length > 0 else None for length in shape]
