"""Evaluation: models × attacks × ε → records; verification and statistics."""

from importlib import import_module

# On first use: the report reads records and statistics without waiting for torch.
_HOMES = {
    "Comparison": ".results.comparisons",
    "Effort": "effort",
    "Evaluation": "evaluation",
    "Finding": ".results.findings",
    "Subject": "subjects",
    "Verdict": ".results.verdicts",
    "compare": ".results.comparisons",
    "compare_all": ".results.comparisons",
    "evaluate": "evaluation",
    "per_class": ".results.comparisons",
    "read_records": ".results.records",
    "summarize": ".results.records",
    "tradeoff": ".results.comparisons",
    "worst_case": ".results.records",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
