"""A check of records: how sure the model is of what it was fooled into."""

import pandas as pd

from ..findings import Finding
from .registry import record_check

SURE = 0.99


@record_check()
def sure_when_fooled(records: pd.DataFrame) -> list[Finding]:
    """A note with the share of fooled images about which the model is all but certain."""
    fooled = records[(records["eps"] > 0) & (records["correct"] < 0.5)]
    share = float((fooled["confidence"] > SURE).mean()) if len(fooled) else 0.0
    return [Finding("sure-when-fooled", "note", f"{share:.1%} of the images are fooled with certainty", {"share": share})]
