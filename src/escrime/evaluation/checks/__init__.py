"""Validity checks: each a small function that reads records or probes a model, and answers with findings."""

from .finding import SEVERITIES, Finding, from_rows, in_order, read_findings

__all__ = ["SEVERITIES", "Finding", "from_rows", "in_order", "read_findings"]
