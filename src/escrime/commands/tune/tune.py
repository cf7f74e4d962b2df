"""`escrime tune`: choose ε_max and N of prediction averaging for a model of the user's, in a folder that can be continued."""

import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import nn

from ...data import ImageSet
from ...errors import EscrimeError
from ...evaluation.images import Source
from ...evaluation.shared_copies import MEASURED, Grid, halves, slices_in, tuning_parts
from ...evaluation.tuning import conclude
from ...files import sweep, write_whole
from ...results.reading import read_json
from ...results.records import write_part
from ...results.rows import read_all
from ...results.schema import StoredTuning
from ..evaluate.candidate import Candidate
from ..evaluate.first_look import FirstLook
from ..evaluate.identity import identity_of, refuse_another_model
from ..evaluate.request import Request, short_name
from ..shared.display import Display
from ..shared.folder import RunFolder, about_images, provenance
from .result import as_json, csv_of

RESULT = "tune.json"
PARTS = "parts"  # of the choosing half, one file per slice of the images


def tune_model(
    request: Request,
    grid: Grid,
    out: Path | str | None,
    *,
    device: torch.device,
    command: str = "",
    quiet: bool = False,
) -> tuple[RunFolder, dict]:
    """Choose ε_max and N for the requested model and images, in the folder `out` (by default runs/tune-MODEL).

    Returns the folder and what its tune.json holds. A finished folder is read, an interrupted one continued.

    Raises:
        EscrimeError: For a model or images that cannot be used, before anything is written, and for a folder that holds the
            result of another request.
    """
    folder = RunFolder(out or Path("runs") / f"tune-{short_name(request.model)}")
    candidate = Candidate(request, Display(quiet=quiet), device)
    candidate.display.say(f"{request.model} on {request.images}")
    network = candidate.network("an attack cannot be adaptive")
    test = candidate.images()
    source = Source(test, device)
    choosing, validating = halves(test, request.seed)
    identity = {"settings": _settings(request, grid), "dataset": about_images(test)}
    if (folder / RESULT).exists():
        old = _read(folder)
        folder.refuse_another(old, identity)
        refuse_another_model(folder, candidate, old.get("identity", {}), identity_of(candidate, source))
        if "verdict" in old:
            return folder, old
    elif folder.foreign():
        raise EscrimeError(f"{folder.path} exists and holds no {RESULT}; give another folder with --out.")
    FirstLook(candidate, source).check()
    with folder.lock():
        sweep(folder.path)
        if not (folder / RESULT).exists():
            folder.write_json(
                RESULT,
                {
                    "kind": "tuning",
                    **provenance(str(device)),
                    "command": command,
                    **identity,
                    "identity": identity_of(candidate, source),
                },
            )
        start = time.monotonic()
        records = _measured(candidate, network, folder, choosing, grid)
        measured = time.monotonic()
        with candidate.display.bar("Validate on the other half", None):
            found = conclude(network, validating, grid, records, seed=request.seed, device=device)
        seconds = {"choose": round(measured - start, 2), "validate": round(time.monotonic() - measured, 2)}
        result = _read(folder) | as_json(found, len(choosing), len(validating)) | {"seconds": seconds}
        write_whole(folder / "tune.csv", csv_of(found.table), follow=False)
        _draw(folder, result)
        folder.write_json(RESULT, result)  # last: with a verdict the folder is finished
    return folder, result


def _settings(request: Request, grid: Grid) -> dict:
    named = ("model", "images", "limit", "size", "seed", "skip_unreadable", "mean", "std")
    return {name: getattr(request, name) for name in named} | asdict(grid)


def _measured(candidate: Candidate, network: nn.Module, folder: RunFolder, choosing: ImageSet, grid: Grid) -> pd.DataFrame:
    """The records of the choosing half; slices that an earlier command finished are read."""
    parts, total = folder / PARTS, slices_in(choosing)
    path = lambda index: parts / f"{index:05d}.parquet"  # noqa: E731
    done = [index for index in range(total) if path(index).exists()]
    with candidate.display.bar("Choose by shared forwards", total * len(grid.eps_max)) as advance:
        advance(len(done) * len(grid.eps_max), note="")
        work = tuning_parts(
            network,
            choosing,
            grid,
            seed=candidate.request.seed,
            device=candidate.device,
            finished=lambda index: index in done,
            step=lambda note: advance(note=note),
        )
        for index, frame in work:
            write_part(frame, path(index))
    return read_all([path(index) for index in range(total)], MEASURED)


def _draw(folder: RunFolder, result: dict) -> None:
    from ...report.figures.pareto import draw_pareto

    with TemporaryDirectory() as temporary:
        for path in draw_pareto(result, Path(temporary)):
            write_whole(folder / path.name, path.read_bytes(), follow=False)


def _read(folder: RunFolder) -> dict:
    return read_json(folder / RESULT, StoredTuning, "restore it, or give another folder with --out")
