"""docs/results/threats.md from the files in docs/results/threats/: what each threat leaves of each network."""

import json
from pathlib import Path

from escrime.budgets import eps_text, same
from escrime.files import write_whole
from escrime.norms import norm
from escrime.report.document import as_document
from escrime.report.markdown import table
from escrime.report.run import read_run
from escrime.results.findings import Finding
from escrime.results.verdicts import objects
from escrime.terminal import duration

from ..paper.keep import machine, portable, rounded

SHARE = ("accuracy", "low", "high", "n")
HEAD = """# Every way to fool it, on real networks

What is left of networks with ImageNet weights, cut to Imagenette's ten classes, on images that their training did not hold (the
*leak-free* ones), under each threat and under an attacker who may choose another for every image. Percent right with 95 %
Wilson intervals. `python -m benchmarks.threats` makes this page from the files in `docs/results/threats/`."""
WORDS = """*passes*: network passes for each image that the threat fools the network with, a measure of how cheap it is; common
corruptions ask for none. *alone*: images that no other threat fools. Each row is the worst case, image by image, over the
attacks that `escrime evaluate` runs in that norm and whatever its checks called for; *not believed* says that one of them
objects. What ε counts in each norm stands in [What the attacker knows](../ideas/threats.md)."""


def keep(folder: Path, out: Path, network: str, training: str) -> None:
    """Write what the page needs of a run.

    Errors: SystemExit for a run of one threat only.
    """
    found = as_document(read_run(folder))
    manifest = found["manifest"]
    if len(found["unions"]) != 1:
        raise SystemExit(f"{folder} holds {len(found['unions'])} unions of threats; keep a run of one network and subset.")
    (union,) = found["unions"]
    (about,) = manifest["models"].values()
    clean = next(row for row in found["worst_case"] if same(row["eps"], 0.0))
    against = {(f["norm"], f["id"]) for f in found["checks"] if objects(Finding(**f))}
    objections = {row["norm"]: sorted(id for where, id in against if where == row["norm"]) for row in union["rows"]}
    called = {row["norm"]: threat(row["norm"], row["eps"]) for row in union["rows"]}
    content = {
        "network": network,
        "training": training,
        "weights": about["weights"],
        "pixels": manifest["dataset"]["size"],
        "clean": {name: clean[name] for name in SHARE},
        "any": {name: union[name] for name in (*SHARE, "believe")},
        "threats": [row | {"name": called[row["norm"]], "objections": objections[row["norm"]]} for row in union["rows"]],
        "corruptions": found["corruptions"],
        "seconds": round(sum(stage["seconds"] for stage in manifest["stages"])),
        "hardware": manifest["hardware"],
        "escrime": manifest["escrime"],
        "commit": manifest["commit"],
        "created": manifest["created"][:10],
        "command": portable(manifest["command"]),
    }
    write_whole(out, json.dumps(rounded(content), ensure_ascii=False, indent=1) + "\n")


def write_page(folder: Path) -> Path:
    """Write folder/threats.md from folder/threats/*.json."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "threats").glob("*.json"))]
    blocks = [HEAD, overview(kept), *([WORDS] if kept else [])]
    for one in kept:
        blocks += of_network(one)
    path = folder / "threats.md"
    write_whole(path, "\n\n".join(blocks) + "\n")
    return path


def overview(kept: list[dict]) -> str:
    """A column per network."""
    if not kept:
        return "No network has been kept yet."
    names = dict.fromkeys(row["name"] for one in kept for row in one["threats"])
    rows = [["none (clean)", *(share(one["clean"]) for one in kept)]]
    for name in names:
        cells = []
        for one in kept:
            found = [row for row in one["threats"] if row["name"] == name]
            cells.append(share(found[0]) if found else "not measured")
        rows.append([name, *cells])
    rows.append(["any of them", *(share(one["any"]) for one in kept)])
    return table(["threat", *(f"{one['network']}, {one['training']} (n = {one['any']['n']})" for one in kept)], rows)


def of_network(one: dict) -> list[str]:
    """The threats to one network, the cheapest first, its corruptions, and how it was made."""
    rows = [
        [
            row["name"],
            share(row),
            "–" if row["passes"] is None else f"{row['passes']:,.0f}",
            row["alone"],
            f"no: {', '.join(row['objections']) or 'see the run'}" if not row["believe"] else "yes",
        ]
        for row in one["threats"]
    ]
    blocks = [f"## {one['network']}, {one['training']}", table(["threat", "% right", "passes", "alone", "believed"], rows)]
    for row in one["corruptions"]:
        mean, low, high = (100 * row[f"error{end}"] for end in ("", "_low", "_high"))
        rise, under, over = (100 * row[f"relative{end}"] for end in ("", "_low", "_high"))
        blocks.append(
            f"Common corruptions ({row['corruptions']}, {row['n']} images): mean error {mean:.1f} % [{low:.1f}, {high:.1f}], "
            f"{rise:+.1f} points [{under:.1f}, {over:.1f}] over the clean one."
        )
    made = f"escrime {one['escrime']} at {one['commit'] or 'no commit'}, {one['created']}"
    took = f"{duration(one['seconds'])} on {machine(one['hardware'])}"
    blocks.append(f"{one['pixels']} px, weights `{one['weights']}`, {took}, {made}.")
    return [*blocks, f"```sh\n{one['command']}\n```"]


def threat(name: str, eps: float) -> str:
    return f"{norm(name).title}, ε = {eps_text(eps, norm(name).per_value)}"


def share(cell: dict) -> str:
    """An accuracy in percent with its interval; what is not to be believed says so."""
    text = f"{100 * cell['accuracy']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"
    return text if cell.get("believe", True) else f"{text}, not believed"
