"""The report as Markdown: tables to paste into an appendix or an issue."""

import re

from ..results.crossings import crossings
from ..results.names import defense_name
from ..results.records import WORST, in_subset, worst_case
from ..results.statistics import p_text
from ..terminal import duration, printable
from .corruptions import corruption_tables
from .document import as_document
from .formatting import eps_text
from .intervals import Point
from .run import Run
from .sweep import build_sweeps
from .tables import Table, accuracy_tables, one_table
from .validity import about, validity


def markdown(run: Run) -> str:
    """The whole report as text that ends with a line break."""
    found = as_document(run)
    blocks = [f"# {inline(run.manifest.get('title') or run.folder.name)}", *made(found, run), *judged(found)]
    for model in run.models:
        blocks += [
            f"## {inline(model)}",
            *accuracies(run, model),
            *paired(found, model),
            *corrupted(run, model),
            *deployed(run),
        ]
    blocks += [*claimed(found["claims"]), *checked(run)]
    return "\n\n".join(blocks) + "\n"


def made(found: dict, run: Run) -> list[str]:
    """How the run was made, what its data leave out, which pixels could change, and on which surrogates, as a list."""
    manifest, dataset = found["manifest"], found["manifest"]["dataset"] or {}
    hardware, stages = manifest["hardware"] or {}, manifest["stages"] or []
    versions = {"escrime": manifest["escrime"], **(manifest["versions"] or {})}
    lines = {
        "command": code(manifest["command"]) if manifest["command"] else "",
        "data": f"{run.data_name or 'unnamed'}, {dataset.get('test')} test images, {run.class_count}, "
        f"{dataset.get('size')} px, fingerprint {dataset.get('fingerprint')}{f'; {run.left_out}' if run.left_out else ''}",
        "threat model": run.mask,
        "surrogates": run.surrogates,
        "made": f"{manifest['created']}, seed {manifest['seed']}, commit {manifest['commit'] or 'unknown'}",
        "with": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "on": ", ".join(str(hardware[name]) for name in ("cpu", "gpu", "device") if hardware.get(name)),
        "took": duration(sum(stage["seconds"] for stage in stages)) if stages else "",
    }
    return ["\n".join(f"- {name}: {text if name == 'command' else inline(text)}" for name, text in lines.items() if text)]


def judged(found: dict) -> list[str]:
    """The verdicts, one line each."""
    lines = [
        "- " + ("" if verdict["believe"] else "**not as it stands**: ") + inline(verdict["sentence"])
        for verdict in found["verdicts"]
    ]
    return ["## Verdicts", "\n".join(lines)] if lines else []


def accuracies(run: Run, model: str) -> list[str]:
    """One table per attack, and one for the worst case over all attacks; cells are % [95 % interval]."""
    blocks = []
    for shown in [*accuracy_tables(run, model), *worst_tables(run, model)]:
        where = f" of the {shown.subset} images" if shown.subset else ""
        heads = ["ε", *(f"{defense}, {threat} (n = {n})" for defense, threat, n in shown.columns)]
        rows = [[eps, *map(cell, points)] for eps, points in shown.rows]
        blocks += [f"{inline(shown.attack)}: {inline(shown.measure)}{where} [95 % interval]", table(heads, rows, numbers=True)]
    for subset in run.subsets:
        records = in_subset(run.records[run.records["model"] == model], subset)
        blocks += [inline(found.sentence) for found in crossings(records, worst_case(records))]
    return blocks


def worst_tables(run: Run, model: str) -> list[Table]:
    """The worst case over all attacks up to each ε, a table per subset and norm."""
    tables = []
    for subset in run.subsets:
        records = in_subset(run.records[run.records["model"] == model], subset)
        sweeps = build_sweeps(worst_case(records)) if len(records) else {}
        order = [(defense, threat) for defense, threat in run.defenses(model)]
        for attack in dict.fromkeys(key[3] for key in sweeps if key[3].startswith(WORST)):
            own = [sweeps[model, *case, attack] for case in order if (model, *case, attack) in sweeps]
            if own:
                tables.append(
                    one_table(
                        f"{attack.capitalize()} over all attacks", subset, "% correct", own, "correct", run.norm_of(attack)
                    )
                )
    return tables


def paired(found: dict, model: str) -> list[str]:
    """Each defense against none on the same images, and two at once against each of them."""
    tests = [test for test in found["tests"] if test["first"][0] == model]
    if not tests:
        return []
    heads = ["defense", "against", "attacker", "n", "difference, points [95 %]", "gained / lost", "p", "p (Holm)", "verdict"]
    rows = []
    for test in tests:
        (_, defense, threat, under), other = test["first"], test["second"][1]
        threat = threat if under == tests[0]["first"][3] else f"{threat}, {under}"
        gain = Point(test["eps"], test["difference"], test["low"], test["high"], test["n"])
        row = [
            defense_name(defense),
            defense_name(other),
            threat,
            test["n"],
            gain.points.replace(" points", ""),
            f"{test['gained']} / {test['lost']}",
        ]
        rows.append([*row, p_text(test["p"]), p_text(test["p_holm"]), test["verdict"]])
    attack, eps = tests[0]["first"][3], eps_text(tests[0]["eps"])
    return [f"Paired tests on the same images, {attack} at ε = {eps}", table(heads, rows)]


def corrupted(run: Run, model: str) -> list[str]:
    """Accuracy by corruption and severity, and what a mean over them says."""
    blocks = []
    for shown in corruption_tables(run, model):
        rows = [[inline(name), *shares] for name, *shares in shown.rows]  # a corruption may have a label of the user's
        blocks += [f"Common corruptions, % correct: {inline(shown.title)}", table(shown.head, rows, numbers=True)]
        blocks.append(inline(" ".join(shown.sentences)))
    return blocks


def deployed(run: Run) -> list[str]:
    """What is deployed in the model's place, on the same examples."""
    if not run.deployment:
        return []
    heads = ["examples made for the model", "n", "both right", "only the model wrong", "only the deployed one wrong"]
    heads += ["both wrong", "model", "deployed", "p"]
    rows = []
    for row in run.deployment:
        counts = [row.n, row.both_right, row.only_model_wrong, row.only_deployed_wrong, row.both_wrong]
        rows.append([row.name, *counts, f"{row.model:.1%}", f"{row.deployed:.1%}", p_text(row.p)])
    title = f"The same examples, shown to what is deployed in its place ({inline(run.deployed_name)})"
    return [title, table(heads, rows), inline(run.deployment[0].sentence)]


def claimed(claims: list[dict]) -> list[str]:
    if not claims:
        return []
    rows = [
        [
            row["id"],
            row["claim"],
            row["model"] + (f", {row['subset']}" if row["subset"] else ""),
            row["measured"],
            row["verdict"],
        ]
        for row in claims
    ]
    return ["## The paper's claims", table(["", "claim", "model", "measured", "verdict"], rows)]


def checked(run: Run) -> list[str]:
    """The findings that have something to say; how many checks passed."""
    found = validity(run)
    fired = [finding for finding in found if finding.severity != "passed"]
    rows = [
        [
            finding.severity + (" (answered)" if finding.answered else ""),
            finding.id,
            about(finding),
            finding.message,
            finding.remedy,
        ]
        for finding in fired
    ]
    blocks = ["## Can it be believed?"]
    if rows:
        blocks.append(table(["", "check", "about", "finding", "remedy"], rows))
    passed = len(found) - len(fired)
    return [*blocks, f"{passed} check{'' if passed == 1 else 's'} passed."] if found else []


def cell(point: Point | None) -> str:
    return "–" if point is None else f"{100 * point.value:.1f} [{100 * point.low:.1f}, {100 * point.high:.1f}]"


def table(heads: list[str], rows: list[list], numbers: bool = False) -> str:
    """A table of GitHub's Markdown; with `numbers`, all rows are ours, and all columns but the first are set to the right."""
    shown = str if numbers else inline
    rules = ["---"] + ["---:" if numbers else "---"] * (len(heads) - 1)
    lines = [[inline(head) for head in heads], rules, *([shown(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


INTERVAL = r"(?<=[\w%] )\[[-−+\d.e]+%?, [-−+\d.e]+%?\](?![(\[:])"  # no link: a word before, nothing behind


def inline(value: object) -> str:
    """Text on one line in which nothing is markup, a link or an image, so that a class may be named "<b>", "a|b", "[a](b)".
    The brackets of an interval stay, for they are read most."""
    text = printable(re.sub(r"\s*\n\s*", " ", str(value)))
    text = re.sub(rf"({INTERVAL})|([\\`*|<$\[\]~])", lambda found: found[1] or "\\" + found[2], text)
    text = re.sub(r"&(?=#?\w+;)", r"\\&", text)  # no character by its number
    text = re.sub(r":(?=//)|(?<=www)\.|@(?=\w)", r"\\\g<0>", text, flags=re.I)  # addresses become links by themselves
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def code(value: object) -> str:
    """Text as code on one line, between more backticks than it holds anywhere."""
    text = printable(re.sub(r"\s*\n\s*", " ", str(value)))
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"
