"""A run as SARIF 2.1.0, which GitHub and others show beside the lines of a pull request: its alarms, warnings and notes."""

import json
import re
from typing import Any

from ..results.findings import SEVERITIES
from ..terminal import printable
from .check_list import checked, gated, verdict_name

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"alarm": "error", "warning": "warning", "note": "note"}  # what passed is no result
RULES = {"verdict": "whether the robust accuracy may be believed", "gate": "whether robust accuracy is high enough"}
SOURCE = re.compile(r"^(?P<file>[^:]+\.py):\w+$")  # a model that a file of the repository makes


def sarif(document: dict[str, Any], fail_under: float | None = None) -> str:
    """SARIF of a run's `document` (see `report.document`).

    An alarm or a warning that does not forbid to believe a number is one level milder. The place of a result is the file that
    makes the model, for a model FILE.py:FUNCTION, and else the run's manifest.

    Args:
        document: the run.
        fail_under: the least robust accuracy that passes, 0 to 1; below it is an error. None for no gate.

    Returns:
        The JSON text.
    """
    rules: dict[str, dict[str, Any]] = {}
    results: list[dict[str, Any]] = []
    place = {"physicalLocation": {"artifactLocation": {"uri": _file(document)}, "region": {"startLine": 1}}}

    def note(rule: str, about: str, level: str, text: str, remedy: str = "") -> None:
        rules.setdefault(rule, {"id": rule, "shortDescription": {"text": RULES.get(rule, f"validity check {rule}")}})
        message = f"{about}: {text}" if about else text
        results.append(
            {
                "ruleId": rule,
                "level": level,
                "message": {"text": printable(f"{message}. {remedy}" if remedy else message)},
                "locations": [place],
                "partialFingerprints": {"escrime/v1": f"{rule}/{about}"},
            }
        )

    for found in checked(document):
        if found.severity in LEVELS:
            level = LEVELS[found.severity] if found.objects else LEVELS[_milder(found.severity)]
            note(found.id, found.about, level, found.message, found.remedy)
    for verdict in document["verdicts"]:
        if not verdict["believe"]:
            note("verdict", verdict_name(verdict), "error", verdict["sentence"])
    for name, sentence, failed in gated(document, fail_under):
        if failed:
            note("gate", name, "error", sentence)
    driver = {"name": "escrime", "version": document["manifest"].get("escrime") or "", "rules": list(rules.values())}
    content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _milder(severity: str) -> str:
    """The next severity that is still a result."""
    order = [name for name in SEVERITIES if name in LEVELS]
    return order[min(order.index(severity) + 1, len(order) - 1)]


def _file(document: dict[str, Any]) -> str:
    settings = document["manifest"].get("experiment") or {}
    found = SOURCE.match(str(settings.get("model", "")))
    return found["file"].replace("\\", "/").removeprefix("./") if found else "manifest.json"
