"""What came of an attack on a photo, as people read it."""

from collections.abc import Sequence
from pathlib import Path

from ...report.formatting import percent
from .folder import LINES, Result


def sentence(found: Result) -> str:
    """From which class to which, by how much, and that the file was asked; or why not."""
    name = Path(found.photo).name
    if not found.fooled:
        already = found.target is not None and found.target == found.before
        reason = "it is the target already" if already else "no change within ε was found that works"
        tried = "" if found.levels is None else f" (tried: {found.levels}/255)"
        return f"{name}: still {found.after}; {reason}{tried}."
    classes = f"{found.before} ({percent(found.before_confidence)}) → {found.after} ({percent(found.after_confidence)})"
    size = f"{found.width} × {found.height} pixels"
    return f"{name}: {classes} at ε = {found.levels}/255, {size}, verified: the model was asked about the file."


def summary(found: Sequence[Result], out: Path, full_size: bool) -> str:
    """How many photos fool the model, and where everything lies."""
    fooled = sum(result.fooled for result in found)
    count = f"{fooled} of {len(found)} photos fool the model. " if len(found) > 1 else ""
    small = fooled and not full_size
    hint = " The PNGs are what the model sees of the photos; --full-size keeps the photos' own size." if small else ""
    return f"{count}Beside each PNG lies a picture of before and after; {out / LINES} holds all in numbers.{hint}"
