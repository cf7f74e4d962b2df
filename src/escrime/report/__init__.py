"""The report: a run folder's records → figures, claims.json and report.html. No model is run here."""

from .draw import draw_report
from .run import Run, read_run

__all__ = ["Run", "draw_report", "read_run"]
