"""Experiments: what a run is (TOML), its stages, its folder, and how it resumes."""

from pathlib import Path
from typing import Any

from ..shared.devices import processes
from .files import read_experiment
from .overrides import apply_changes


def run_experiment(
    source: str,
    changes: dict[str, Any] | None = None,
    *,
    device: str | None = None,
    out: Path | str | None = None,
    command: str = "",
    quiet: bool = False,
) -> Path:
    """Run the experiment `source` (a shipped name or a TOML file) in the folder `out`, by default one of its own; return that
    folder. The processes of a torchrun share the work."""
    name, raw = read_experiment(source)

    from .schema import check_experiment

    experiment = check_experiment(apply_changes(raw, changes or {}), source)

    from ...distributed import Processes
    from ..shared.display import Display
    from ..shared.folder import RunFolder
    from ..shared.own_folder import own_folder
    from .context import ExperimentRun
    from .estimate import announce
    from .outcome import show_outcome
    from .stages import run_stages

    folder = RunFolder(Path("runs") / name if out is None else out)
    with processes(device) as here:
        team = Processes(here)
        display = Display(quiet=quiet or not team.first)
        display.say(experiment.title)
        run = ExperimentRun(name, experiment, folder, display, here, team, command)
        if out is None:
            run.folder = RunFolder(
                team.broadcast(own_folder(folder.path, run.held_by, display.say).path if team.first else folder.path)
            )
        if team.first and not quiet:
            if (told := experiment.headline_told) is not None:
                display.say(f"note: {told}")
            announce(run)
        run_stages(run)
        if team.first:
            show_outcome(run)
    return run.folder.path
