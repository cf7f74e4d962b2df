"""The pictures of an evaluation: the closest call, the surest mistake, and a few images that stand, attacked again."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...attacks.transfer import Transfer
from ...budgets import same
from ...evaluation.parts import Part, crafted
from ...evaluation.subjects import Case
from ...evaluation.universal import Fits
from ...results.records import read_records, worst_case
from ..run.examples import Examples
from ..shared.store import FolderStore

if TYPE_CHECKING:
    from .assessment import Assessment

MOST = 300  # passes that making one picture again may cost: a few seconds of a large network on a CPU
STAND = 3  # images
CLOSEST, SUREST, STANDS = "closest call", "surest mistake", "stands"


def make_pictures(run: "Assessment", case: Case, eot: int) -> None:
    """Save the pictures of one model at the headline ε to examples/, where they are not there yet.

    The attacks are made again as the evaluation made them, from the same seed, so that a picture is what the records speak
    of; only rows that cost few passes are shown. What cannot be made again is left out.
    """
    folder, name = run.folder / "examples", case.subject.model
    listing = folder / f"{name}.json"
    written = [part.stat().st_mtime for part in (run.folder / "records").glob("*.parquet")]
    if listing.exists() and listing.stat().st_mtime > max(written, default=0.0):
        return
    records, seed, attacks = read_records(run.folder.path), run.request.seed, run.candidate.attacks
    own = records[(records["model"] == name) & (records["defense"] == case.subject.defense)]
    on_others = own["attack"].isin([label for label, attack in attacks.items() if isinstance(attack, Transfer)])
    own = own[(own["threat"] == case.threat) | on_others]  # what was made on the network behind a defense is made there alone
    first, fits = run.candidate.threats[0], Fits(run.source, seed, eot, FolderStore(run.folder))
    examples = Examples(name, case.attacked, run.test, own, [], first.headline, seed, run.candidate.device)
    shown = list(chosen(own[own["norm"] == first.norm], first.headline, set(attacks)))
    for threat in run.candidate.threats[1:]:  # of each other one its surest mistake
        found = chosen(own[own["norm"] == threat.norm], threat.headline, set(attacks))
        shown += [(title, row) for title, row in found if title == SUREST]
    for title, row in shown:
        label, image, eps = row["attack"], row["image"], row["eps"]
        images, grid = run.source.rows([examples.index[image]]), run.candidate.grids[label]
        profile, at = run.profiles[case.attacked], next(at for at, budget in enumerate(grid) if same(budget, eps))
        try:
            fit = partial(fits.ready, profile=profile, grid=grid, name=Part(case, label, 0).name)
            outcomes, _ = crafted(attacks[label], profile, case.attacked, images, grid, seed, eot, fit)
            if outcomes is not None:
                facts = {"attack": label, "eps": eps, "threat": row["threat"]}
                examples.put(title, image, outcomes[at].adversarial, facts)
        except Exception:  # a model may raise anything at any image; the evaluation is done, and needs no picture
            continue
    examples.save(folder)


def chosen(records: pd.DataFrame, eps: float, attacks: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it shows, a row of the records at ε) for each picture: the mistake that the model is surest of; of the images that
    stand in the worst case the one it is least sure of, and three of those it is surest of, one class after another."""
    attacked = records[(records["eps"] > 0) & records["attack"].isin(attacks)]
    passes = (attacked["forwards"] + attacked["backwards"]).groupby([attacked["attack"], attacked["image"]]).transform("sum")
    rows = attacked[(passes <= MOST) & same(attacked["eps"], eps) & attacked["verified"]]
    rows = rows[rows["clean_prediction"] == rows["label"]].sort_values("confidence", kind="stable")
    worst = worst_case(records)
    left = set(worst.loc[same(worst["eps"], eps) & (worst["correct"] == 1), "image"])
    standing = rows[rows["image"].isin(left) & (rows["prediction"] == rows["label"])].drop_duplicates("image")
    wrong = rows[rows["prediction"] != rows["label"]]
    found = [(CLOSEST, standing.head(1)), (SUREST, wrong.tail(1))]
    sure = standing.iloc[:0:-1]  # all but the closest call, the surest first
    turn = sure.groupby("label").cumcount()
    found.append((STANDS, sure.loc[turn.sort_values(kind="stable").index].head(STAND)))
    for title, some in found:
        for row in some.to_dict("records"):
            yield title, row
