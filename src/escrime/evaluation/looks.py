"""What is found about the model of a case as it is, and about how it is fed; of a deployed one, all that is looked at."""

import pandas as pd
import torch

from ..errors import or_reason
from ..models.running import no_trace
from ..results.checks.records import record_findings
from ..results.findings import Finding
from ..results.threats import DEPLOYED
from .checks.inputs import input_findings, not_seen
from .checks.registry import model_check
from .profile import Profiles
from .shared_rows import SharedRows, alone
from .stronger import of_case
from .subjects import Case

FEEDING = "how it is fed"
UNANSWERED = ("attack-failed", "non-finite")


def findings_of_model(
    case: Case, profiles: Profiles, records: pd.DataFrame, seed: int, shared: SharedRows
) -> tuple[list[Finding], dict[str, str]]:
    """(what is found about the model of a case, whatever the norm; what could not be seen as it raised, see `not_seen`)."""
    inputs, reason = or_reason(lambda: _inputs(case, profiles, records, seed, shared))
    raised = {} if case.threat == DEPLOYED else dict(profiles[case.attacked].raised)
    raised |= profiles[case.subject.classifier].raised
    return inputs or [], raised | ({FEEDING: reason} if reason else {})


def findings_of_deployed(case: Case, profiles: Profiles, records: pd.DataFrame, seed: int) -> list[Finding]:
    """What is found about a model that is deployed in another's place, `records` being its own; nobody attacks it."""
    found, raised = findings_of_model(case, profiles, records, seed, alone())
    return [finding.of(*case.name) for finding in [*found, *not_seen(raised)] if finding.severity != "passed"]


def unanswered(records: pd.DataFrame | None, failures: dict[str, str], manners: dict[str, str] | None) -> list[Finding]:
    """What rows say of a model, whoever was attacked: where it raised, and where it gave no numbers. [] for no rows."""
    if records is None or records.empty:
        return []
    return [finding for finding in record_findings(records, failures, manners) if finding.id in UNANSWERED]


def _inputs(case: Case, profiles: Profiles, records: pd.DataFrame, seed: int, shared: SharedRows) -> list[Finding]:
    """What is found about the model of a case as it is, and about how it is fed: once for all norms that it is judged in."""
    own, model, first = of_case(records, case), case.subject.classifier, profiles.images
    profile, known = profiles[model], (case.name, own["image"].nunique())
    if known in profiles.found:
        return profiles.found[known]

    def as_fed() -> list[Finding]:
        return input_findings(
            profile.asked or model,
            first.pixels,
            first.labels,
            profile.randomized,
            seed,
            blind=profile.blind,
            batch=profile.batch,
            more=profiles.source.few_pairs(seed),
            fed=profiles.fed.get(id(model)),
            scored=_scored(own, len(first.labels)),
        )

    def as_it_is() -> list[Finding]:
        with torch.no_grad(), no_trace(model, first.pixels.device):
            return model_check.findings(model=model, images=first.pixels, labels=first.labels, profile=profile, seed=seed)

    profiles.found[known] = [one for some in shared.each("the model checks", [as_fed, as_it_is]) for one in some]
    return profiles.found[known]


def _scored(records: pd.DataFrame, looked: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Predictions and labels (M,) of the clean images of a case, where its records have more than were `looked` at."""
    rows = records.drop_duplicates("image")
    if len(rows) <= looked:
        return None
    return torch.tensor(rows["clean_prediction"].to_numpy()), torch.tensor(rows["label"].to_numpy())
