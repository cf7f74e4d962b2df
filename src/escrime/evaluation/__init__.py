"""Evaluation: models × attacks × ε → records; verification and statistics."""

from .cases import Subject
from .evaluate import Evaluation, evaluate
from .records import read_records, summarize

__all__ = ["Evaluation", "Subject", "evaluate", "read_records", "summarize"]
