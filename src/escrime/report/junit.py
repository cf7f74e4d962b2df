"""A run as JUnit XML, which every CI shows as a list of tests: each check of each model, its verdict, and the gate."""

from typing import Any
from xml.etree import ElementTree

from ..terminal import printable
from .check_list import ListedCheck, checked, gated, verdict_name


def junit(document: dict[str, Any], fail_under: float | None = None) -> str:
    """JUnit XML of a run's `document` (see `report.document`).

    A test case fails where a check objects and nothing has answered it, where a verdict is not to be believed, and, with
    `fail_under`, where robust accuracy is below it; what was measured stands in its text in any case.

    Args:
        document: the run.
        fail_under: the least robust accuracy that passes, 0 to 1; None for no gate.

    Returns:
        The XML, with its declaration.
    """
    root = ElementTree.Element("testsuites", name=printable(f"escrime {document['manifest'].get('name') or ''}".strip()))
    cases = [_check(found) for found in checked(document)]
    cases += [_case("verdict", verdict_name(one), one["sentence"], not one["believe"]) for one in document["verdicts"]]
    cases += [_case("gate", name, sentence, failed) for name, sentence, failed in gated(document, fail_under)]
    for group in dict.fromkeys(case.get("classname") for case in cases):
        own = [case for case in cases if case.get("classname") == group]
        failures = sum(case.find("failure") is not None for case in own)
        suite = ElementTree.SubElement(root, "testsuite", name=str(group), tests=str(len(own)), failures=str(failures))
        suite.extend(own)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _check(found: ListedCheck) -> ElementTree.Element:
    text = f"{found.message}. {found.remedy}" if found.remedy else found.message
    return _case("check", f"{found.id}: {found.about}" if found.about else found.id, text, found.objects)


def _case(group: str, name: str, text: str, failed: bool) -> ElementTree.Element:
    """A test case; its text is the failure's, or goes to its output."""
    case = ElementTree.Element("testcase", classname=f"escrime.{group}", name=printable(name))
    if failed:
        ElementTree.SubElement(case, "failure", message=printable(text)).text = printable(text)
    else:
        ElementTree.SubElement(case, "system-out").text = printable(text)
    return case
