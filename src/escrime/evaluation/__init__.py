"""Evaluation: models × attacks × ε → records; verification and statistics."""

from importlib import import_module

# On first use: the report reads records and statistics without waiting for torch.
_HOMES = {
    "Evaluation": "evaluation",
    "Subject": "cases",
    "evaluate": "evaluation",
    "read_records": "records",
    "summarize": "records",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
