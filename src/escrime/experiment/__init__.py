"""Experiments: what a run is (TOML), its stages, its folder, and how it resumes."""

from pathlib import Path
from typing import Any

from .changes import apply_changes
from .devices import pick_device
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
    if not quiet:
        announce(run)
    run_stages(run)
    show_outcome(run)
    return folder.path
