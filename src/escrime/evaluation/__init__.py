"""Evaluation: models × attacks × ε → records; verification and statistics."""

from importlib import import_module

# On first use: the report reads records and statistics without waiting for torch.
_HOMES = {
    "Comparison": "comparisons",
    "Effort": "effort",
    "Evaluation": "evaluation",
    "Finding": "checks",
    "Subject": "cases",
    "Verdict": "checks.verdict",
    "compare": "comparisons",
    "compare_all": "comparisons",
    "evaluate": "evaluation",
    "per_class": "comparisons",
    "read_records": "records",
    "summarize": "records",
    "tradeoff": "comparisons",
    "worst_case": "records",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
