"""report.html: one self-contained file, no network, from the run, its figures and its claims."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from ..norms import norm
from ..results.findings import BUDGET, Finding
from ..results.names import defense_name
from ..results.records import in_subset
from ..results.statistics import p_text
from ..results.union import unions
from ..results.verdicts import Verdict, verdicts
from ..terminal import printable
from .corruptions import corruption_tables
from .figures import Drawn
from .first_table import first_table
from .formatting import NETWORKS, fraction_text, percent, slug
from .gallery import gallery
from .glossary import glossary
from .headline import Headline, headline, headline_eps, headlines
from .inline import inline_svg
from .interactive import chart, description
from .one_for_all import one_for_all
from .run import Run
from .tables import accuracy_tables, class_table, paired_tests, passes, stage_rows, training_rows
from .validity import about, validity

SEVERITIES = {"alarm": "not-reproduced", "warning": "partly", "note": "not-tested", "passed": "reproduced"}
TEMPLATES = Path(__file__).parent / "templates"
PHOTOS = " Photos are compressed on this page; figures/ holds them as they were attacked."


def environment() -> Environment:
    """Where pages are made: names stay text, and numbers are written as everywhere."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=ChainableUndefined,
    )
    made.filters |= {"percent": percent, "slug": slug, "anchor": anchor}
    made.filters |= {"defense": defense_name, "eps": fraction_text, "p": p_text}
    return made


def render_page(run: Run, drawn: list[Drawn], claims: list[dict]) -> str:
    """The whole page as text."""
    eps = headline_eps(run)
    found = validity(run)
    judged = verdicts_by_model(run, found, headlines(run))
    together = {model: unions(run.records, judged[model]) for model in run.models}
    alone = len(run.models) == 1  # of several the first table tells what each keeps
    if alone:
        (only,) = run.models
        heads = [headline(run, only, eps, () if together[only] else judged[only], together[only])]
    else:
        heads = [headline(run, model, eps) for model in run.models]
    page = (
        environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            manifest=run.manifest,
            dataset=run.manifest.get("dataset", {}),
            title=run.manifest.get("title") or run.manifest.get("name") or run.folder.name,
            heads=heads,
            models=[model_section(run, head, drawn) for head in heads],
            claims=claim_groups(claims),
            overview=overview(run, claims),
            first=first_table(run, judged, together),
            unions=[union for found in together.values() for union in found],
            words=glossary(run),
            networks=NETWORKS,
            attacked=attacked(run, found),
            trust=trust(found),
            created=moment(run.manifest.get("created", "")),
            passes=passes(run),
            training=training_rows(run),
            stages=stage_rows(run),
            validity=[shown_finding(finding, len({one.norm for one in found if one.norm}) > 1) for finding in found],
            verdicts=judged,
            colors=SEVERITIES,
            settings=flat(run.manifest.get("experiment", {})),
        )
    )
    return printable(page, lines=True)  # names that turn the direction of writing, or are there unseen


def attacked(run: Run, findings: list[Finding]) -> tuple[str, str]:
    """How many images of the main subset were attacked at all, of how many, and why not all: ("40", ""), ("9 of 20", "the
    time …")."""
    rows, dataset = in_subset(run.records, run.main_subset), run.manifest.get("dataset", {})
    n = int(rows.loc[rows["attack"] != "none", "image"].nunique())
    total = (dataset.get("subsets") or {}).get(run.main_subset) if run.main_subset else dataset.get("test")
    if not total or n >= total:
        return f"{n:,}", ""
    timed = any(finding.id == BUDGET for finding in findings)
    why = "there was no time for the others; the same command goes on" if timed else "the others were not attacked"
    return f"{n:,} of {total:,}", why


def trust(findings: list[Finding]) -> list[tuple[int, str, str]]:
    """The validity checks in three counts: (how many, of what, the pill's color)."""
    counted = Counter(finding.severity for finding in findings)
    rows = [(counted[severity], severity, color) for severity, color in SEVERITIES.items()]
    bad = [row for row in rows if row[1] in ("alarm", "warning")]
    passed = next(row for row in rows if row[1] == "passed")
    none = (0, "alarms", SEVERITIES["passed"])
    parts = [(n, word + ("s" if n != 1 else ""), color) for n, word, color in bad if n]
    parts = parts if counted["alarm"] else [none, *parts]
    return [*parts, passed]


def verdicts_by_model(run: Run, findings: list[Finding], headlines: Mapping[str, float]) -> dict[str, list[Verdict]]:
    """The verdicts on the main subset's images, by model."""
    found = [verdict for verdict in verdicts(run.records, findings, headlines) if verdict.subset == (run.main_subset or "")]
    return {model: [verdict for verdict in found if verdict.model == model] for model in run.models}


def model_section(run: Run, head: Headline, drawn: list[Drawn]) -> dict:
    """One model's figures and tables; figures that could not be drawn are named with the reason."""
    model = head.model
    mine = [figure for figure in drawn if figure.model == model]
    network = run.manifest.get("models", {}).get(model, {})
    tests = paired_tests(run, model, head.eps)
    curves = chart(run, model, head.eps)
    return {
        "name": model,
        "id": anchor(model),
        "arch": network.get("arch", model),
        "parameters": network.get("parameters"),
        "stands_for": network.get("stands_for"),
        "head": head,
        "chart": curves,
        "chart_label": description(curves) if curves else "",
        "gallery": gallery(run, model),
        "figures": [shown(figure) for figure in mine if not figure.skipped],
        "skipped": [figure for figure in mine if figure.skipped],
        "tests": tests,
        "averaged": any(test.averaged for test in tests),
        "classes": class_table(run, model, head.eps),
        "tables": accuracy_tables(run, model),
        "one_for_all": one_for_all(run, model),
        "corruptions": corruption_tables(run, model),
        "deployment": run.deployment,
    }


def anchor(model: str) -> str:
    """Where a model's part of the page begins."""
    return f"model-{slug(model)}"


def shown(figure: Drawn) -> dict:
    name = f"{figure.name}-{slug(figure.model)}"
    assert figure.svg is not None  # it was drawn
    svg = inline_svg(figure.svg, name.replace(".", "-"), figure.alt)
    return {
        "id": name,
        "label": figure_label(figure.name),
        "title": figure.title,
        "caption": figure.caption + (PHOTOS if "data:image/jpeg" in svg else ""),
        "svg": Markup(svg),
        "wide": figure.wide,
    }


def shown_finding(finding: Finding, several: bool = False) -> dict:
    """A finding of the validity checks as the page shows it; several: norms, so that its own is named too."""
    where = norm(finding.norm).title if several and finding.norm else ""
    return {
        "severity": finding.severity,
        "title": finding.id.replace("-", " ").capitalize(),
        "about": ", ".join(filter(None, (about(finding), where))),
        "message": finding.message,
        "remedy": finding.remedy,
        "answered": finding.answered,
        "evidence": flat(finding.evidence),
    }


def figure_label(name: str) -> str:
    """What a figure is called: fig6-dgsm is "Figure 6, DGSM", fig7-others "Figure 7, others"."""
    number, _, extra = name.removeprefix("fig").partition("-")
    return f"Figure {number}" + (f", {extra.replace('dgsm', 'DGSM')}" if extra else "")


def claim_groups(claims: list[dict]) -> list[dict]:
    """Claims with the same wording together, in the paper's order."""
    groups: dict[tuple, dict] = {}
    for row in claims:
        key = (row["id"], row["claim"])
        group = groups.setdefault(key, {"id": row["id"], "claim": row["claim"], "paper": row["paper"], "rows": []})
        group["rows"].append(row)
    return sorted(groups.values(), key=lambda group: int(group["id"][1:]))


def overview(run: Run, claims: list[dict]) -> dict:
    """Verdicts as a matrix: one row per claim id, one column per model and subset."""
    columns = [(model, subset) for model in run.models for subset in run.subsets]
    ids = sorted({row["id"] for row in claims}, key=lambda name: int(name[1:]))
    # C11 and C12 are measured once per model: they stand in the column of the main subset.
    cells = {(row["id"], row["model"], row["subset"] or run.main_subset): row for row in claims}
    return {"columns": columns, "rows": [(name, [cells.get((name, *column)) for column in columns]) for name in ids]}


def moment(stamp: str) -> str:
    """2026-01-02T03:04:05+00:00 as "2026-01-02 03:04 UTC"; anything else as it is."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d)?(\.\d+)?(Z|\+00:00)", str(stamp))
    return f"{match[1]} {match[2]} UTC" if match else str(stamp)


def flat(settings: dict, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows."""
    rows = []
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            rows += flat(value, f"{prefix}{name}.")
        elif value is not None:
            rows.append((f"{prefix}{name}", ", ".join(map(plain, value)) if isinstance(value, list) else plain(value)))
    return rows


def plain(value: object) -> str:
    """A number with as many digits as anyone reads; anything else as it is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
