"""Experiments: what a run is (TOML), its stages, its folder, and how it resumes."""

from pathlib import Path
from typing import Any

from .changes import apply_changes
from .schema import check_experiment, read_experiment


def run_experiment(
    source: str, changes: dict[str, Any] | None = None, *, device=None, out=None, command: str = "", quiet: bool = False
) -> Path:
    """Run the experiment `source` (a shipped name or a TOML file) in the folder `out`; return that folder."""
    name, raw = read_experiment(source)
    experiment = check_experiment(apply_changes(raw, changes or {}), source)

    from .folder import RunFolder
    from .outcome import show_outcome
    from .plan import announce
    from .progress import Display
    from .run import Run
    from .stages import run_stages

    folder = RunFolder(out or Path("runs") / name)
    display = Display(quiet=quiet)
    display.say(experiment.title)
    run = Run(name, experiment, folder, display, pick_device(device), command)
    announce(run)
    run_stages(run)
    show_outcome(run)
    return folder.path


def pick_device(name: str | None):
    """The torch device to work on: the one named, or a GPU if there is one."""
    import torch

    from ..errors import EscrimeError

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EscrimeError(f"device {name!r} is unknown; use cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EscrimeError(f"device {name!r} is not available: torch sees no CUDA GPU here; use --device cpu.")
    if device.type not in ("cpu", "cuda"):
        raise EscrimeError(f"device {name!r} is not supported; use cpu, cuda or cuda:N.")
    return device
