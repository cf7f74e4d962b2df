"""Validity checks: each a small function that reads records or probes a model, and answers with findings."""

from .finding import SEVERITIES, Finding, in_order

__all__ = ["SEVERITIES", "Finding", "in_order"]
