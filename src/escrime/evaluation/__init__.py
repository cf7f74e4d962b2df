"""Evaluation: models × attacks × ε → records; verification and statistics."""

from typing import TYPE_CHECKING

# On first use (see discovery.late_names): the report reads records and statistics without waiting for torch.
if TYPE_CHECKING:
    from ..results.comparisons import Comparison as Comparison
    from ..results.comparisons import compare as compare
    from ..results.comparisons import compare_all as compare_all
    from ..results.comparisons import per_class as per_class
    from ..results.comparisons import tradeoff as tradeoff
    from ..results.findings import Finding as Finding
    from ..results.records import read_records as read_records
    from ..results.records import summarize as summarize
    from ..results.records import worst_case as worst_case
    from ..results.verdicts import Verdict as Verdict
    from .effort import Effort as Effort
    from .evaluation import Evaluation as Evaluation
    from .evaluation import evaluate as evaluate
    from .subjects import Subject as Subject
else:
    from ..discovery import late_names, on_first_use

    __all__ = list(late_names(__name__))

    def __getattr__(name):
        return on_first_use(__name__, name)
