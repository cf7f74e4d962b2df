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
from ...evaluation.shared_copies import Grid, halves, parts_in
from ...evaluation.tuning import conclude, measure
from ...files import sweep, write_whole
from ...models.deadline import listening
from ...results.reading import read_json
from ...results.schema import StoredTuning
from ..evaluate.candidate import Candidate
from ..evaluate.first_look import FirstLook
from ..evaluate.identity import identity_of, refuse_another_model
from ..evaluate.request import Request
from ..shared.display import Display
from ..shared.folder import AnotherRun, RunFolder, about_images, provenance
from ..shared.own_folder import own_folder
from ..shared.store import TuningStore
from .result import as_json, csv_of

RESULT = "tune.json"
ATTACKED = "PGD through the average"


def tune_model(
    request: Request,
    grid: Grid,
    out: Path | str | None,
    *,
    device: torch.device,
    command: str = "",
    quiet: bool = False,
) -> tuple[RunFolder, dict]:
    """Choose ε_max and N for the requested model and images, in the folder `out` (by default one of its own, runs/tune-MODEL).

    Returns the folder and what its tune.json holds. A finished folder is read, an interrupted one continued.

    Raises:
        EscrimeError: For a model or images that cannot be used, before anything is written, and for a folder that holds the
            result of another request.
    """
    asked = None if out is None else RunFolder(out)
    candidate = Candidate(request, Display(quiet=quiet), device)
    candidate.display.say(f"{request.model} on {request.images}")
    network = candidate.network("an attack cannot be adaptive")
    test = candidate.images()
    source = Source(test, device)
    choosing, validating = halves(test, request.seed)
    identity = {"settings": _settings(request, grid), "dataset": about_images(test)}

    def holds(folder: RunFolder) -> bool:
        if (folder / RESULT).exists():
            old = _read(folder)
            folder.refuse_another(old, identity)
            refuse_another_model(folder, candidate, old.get("identity", {}), identity_of(candidate, source))
            return True
        if folder.foreign():
            raise AnotherRun(f"{folder.path} exists and holds no {RESULT}", "something else than a tuning")
        return False

    folder = asked or own_folder(Path("runs") / f"tune-{candidate.name}", holds, candidate.display.say)
    if holds(folder):
        old = _read(folder)
        if "verdict" in old:
            return folder, old
        _refuse_other_parts(TuningStore(folder), choosing, grid)
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
        with candidate.display.meter("Validate on the other half") as meter, listening(meter):
            meter.begin("PGD", len(validating))
            found = conclude(network, validating, grid, records, seed=request.seed, device=device)
        seconds = {"choose": round(measured - start, 2), "validate": round(time.monotonic() - measured, 2)}
        result = _read(folder) | as_json(found, len(choosing), len(validating)) | {"seconds": seconds}
        write_whole(folder / "tune.csv", csv_of(found.table), follow=False)
        _draw(folder, result)
        folder.write_json(RESULT, result)  # last: with a verdict the folder is finished
    return folder, result


def _settings(request: Request, grid: Grid) -> dict:
    named = ("model", "images", "limit", "size", "seed", "skip_unreadable", "mean", "std", "classes")
    return {name: getattr(request, name) for name in named} | asdict(grid)


def _refuse_other_parts(store: TuningStore, choosing: ImageSet, grid: Grid) -> None:
    """Raises EscrimeError for parts that are none of this request, such as those of earlier versions: they would be taken
    for its own."""
    known = {part.key for part in parts_in(choosing, grid)}
    if others := [key for key in store.keys() if key not in known]:
        parts = store.folder / store.place
        raise EscrimeError(
            f"{parts} holds {others[0]}.parquet, which this version of escrime does not write; delete {parts} to measure "
            "again, or give another folder with --out."
        )


def _measured(candidate: Candidate, network: nn.Module, folder: RunFolder, choosing: ImageSet, grid: Grid) -> pd.DataFrame:
    """The records of the choosing half; parts that an earlier command finished are read."""
    store, parts = TuningStore(folder), parts_in(choosing, grid)
    left = sum(not store.finished(part.key) for part in parts)
    images = len(choosing) * len(grid.eps_max) / len(parts)  # of a part
    with candidate.display.meter("Choose by shared forwards") as meter, listening(meter):
        asked = grid.steps * grid.eot + 3 * grid.draws  # the attack, three conditions scored
        meter.plan(ATTACKED, left * images, grid.most * asked)
        if left:
            meter.begin(ATTACKED, images)
        seed, device = candidate.request.seed, candidate.device
        next_part = lambda note: meter.begin(ATTACKED, images)  # noqa: E731
        return measure(network, choosing, grid, store, seed=seed, device=device, step=next_part)


def _draw(folder: RunFolder, result: dict) -> None:
    from ...report.figures.pareto import draw_pareto

    with TemporaryDirectory() as temporary:
        for path in draw_pareto(result, Path(temporary)):
            write_whole(folder / path.name, path.read_bytes(), follow=False)


def _read(folder: RunFolder) -> dict:
    return read_json(folder / RESULT, StoredTuning, "restore it, or give another folder with --out")
